"""How far arrivals are apart, in units of the mean gap: evenly, at random, or in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scheduler.arrivals.dice import LONGEST_UNIT_GAP, share, unit_gap


class Gaps(Protocol):
    """Gaps of mean 1. A gap depends on the seed and its number alone."""

    @property
    def longest(self) -> float:
        """No gap is longer."""
        ...

    def first(self, seed: int, draw: int) -> float:
        """From an instant at which nothing is pending: a start, a new rate, the end of a pause."""
        ...

    def following(self, seed: int, draw: int) -> float:
        """From the arrival before it."""
        ...


@dataclass(frozen=True, slots=True)
class Even:
    """Like a metronome."""

    longest: float = 1.0

    def first(self, seed: int, draw: int) -> float:
        return 1.0

    following = first


@dataclass(frozen=True, slots=True)
class Exponential:
    """A Poisson process: it has no memory, so drawing a pending gap anew changes nothing."""

    longest: float = LONGEST_UNIT_GAP

    def first(self, seed: int, draw: int) -> float:
        return unit_gap(seed, draw)

    following = first


@dataclass(frozen=True, slots=True)
class Batches:
    """A compound Poisson process: batches of geometric size arrive at random, each at one instant.

    An arrival opens a new batch with probability 1 / mean, else it joins the last one: that makes the sizes
    geometric without a word about the batch in the position. Counts have a variance of (2 mean - 1) times their
    mean; 1 is the plain Poisson process. mean: jobs in a batch, 1 or more.
    """

    mean: float

    @property
    def longest(self) -> float:
        return self.mean * LONGEST_UNIT_GAP

    def first(self, seed: int, draw: int) -> float:
        # A batch that a pause or a new rate cut short is not taken up again: it has no memory either.
        return self.mean * unit_gap(seed, draw)

    def following(self, seed: int, draw: int) -> float:
        return self.first(seed, draw) if share(seed, draw) * self.mean < 1.0 else 0.0
