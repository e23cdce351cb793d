"""The gaps between arrivals, in units of the mean gap: even, random, or in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scheduler.arrivals.dice import LONGEST_UNIT_GAP, share, unit_gap


class Gaps(Protocol):
    """Gaps of mean 1. A gap depends on the seed and its number alone."""

    @property
    def longest(self) -> float:
        """The maximum of a gap."""
        ...

    def first(self, seed: int, draw: int) -> float:
        """The gap after a moment at which no arrival is pending: a start, a new rate, the end of a pause."""
        ...

    def following(self, seed: int, draw: int) -> float:
        """The gap after the previous arrival."""
        ...


@dataclass(frozen=True, slots=True)
class Even:
    """All gaps are equal."""

    longest: float = 1.0

    def first(self, seed: int, draw: int) -> float:
        return 1.0

    following = first


@dataclass(frozen=True, slots=True)
class Exponential:
    """A Poisson process: it is memoryless, so drawing a pending gap again changes nothing."""

    longest: float = LONGEST_UNIT_GAP

    def first(self, seed: int, draw: int) -> float:
        return unit_gap(seed, draw)

    following = first


@dataclass(frozen=True, slots=True)
class Batches:
    """A compound Poisson process: batches of geometric size arrive at random, each at one instant.

    An arrival opens a new batch with probability 1 / mean, else it joins the last one. So the sizes are geometric, and
    the stored position needs nothing about the batch. Counts have a variance of (2 mean - 1) times their
    mean; 1 is the plain Poisson process. mean: jobs in a batch, 1 or more.
    """

    mean: float

    @property
    def longest(self) -> float:
        return self.mean * LONGEST_UNIT_GAP

    def first(self, seed: int, draw: int) -> float:
        # A batch that was cut short by a pause or a new rate is not continued: the process is memoryless.
        return self.mean * unit_gap(seed, draw)

    def following(self, seed: int, draw: int) -> float:
        return self.first(seed, draw) if share(seed, draw) * self.mean < 1.0 else 0.0
