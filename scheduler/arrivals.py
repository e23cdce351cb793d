"""When jobs arrive: a Poisson process whose k-th gap depends only on the seed, k and the rate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log
from typing import Final, NamedTuple

#: After a pause of the generator itself, this much time is made up for, not hours of it.
CATCH_UP_SECONDS: Final = 15.0

_MASK: Final = 2**64 - 1
#: Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64).
_GOLDEN_GAMMA: Final = 0x9E3779B97F4A7C15
_UNIT: Final = 2.0**-53

#: No unit gap is longer than this, since the smallest uniform number drawn is 2^-53.
LONGEST_UNIT_GAP: Final = 53 * log(2)


class Arrival(NamedTuple):
    """One job that is due. `number` is unique for the seed: draw_job(seed, number, mix) makes the job.

    A named tuple, since up to 1,700 of them are made each second.
    """

    number: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What one tick found. `next_at` and `draws` are the position to go on from."""

    arrivals: tuple[Arrival, ...]
    next_at: datetime
    draws: int


def arrivals_until(
    now: datetime,
    *,
    seed: int,
    draws: int,
    next_at: datetime | None,
    rate_per_minute: float,
    catch_up_seconds: float = CATCH_UP_SECONDS,
    at_most: int | None = None,
) -> Due:
    """The arrivals up to and including `now`, the first `at_most` of them.

    draws: how many gaps were drawn so far; the pending arrival is number draws - 1.
    next_at: the pending arrival, or None to draw it anew from now: at the first start, after a pause and
    after each change of the rate. That stays exact, since exponential gaps have no memory.
    Instants are whole microseconds, so a position that went through a database goes on exactly.
    """
    if not rate_per_minute > 0:
        raise ValueError(f"rate_per_minute must be above 0, not {rate_per_minute}")

    def gap(draw: int) -> timedelta:
        return timedelta(seconds=gap_seconds(seed, draw, rate_per_minute))

    oldest = now - timedelta(seconds=catch_up_seconds)
    longest_gap = timedelta(seconds=LONGEST_UNIT_GAP * 60.0 / rate_per_minute)
    if next_at is None or next_at - now > longest_gap:
        # The second case is a clock that was set back: no job would come until it has caught up.
        next_at, draws = now + gap(draws), draws + 1
    elif next_at < oldest:
        next_at, draws = oldest + gap(draws), draws + 1

    arrivals: list[Arrival] = []
    while next_at <= now and len(arrivals) != at_most:
        arrivals.append(Arrival(draws - 1, next_at))
        next_at, draws = next_at + gap(draws), draws + 1
    return Due(arrivals=tuple(arrivals), next_at=next_at, draws=draws)


def gap_seconds(seed: int, draw: int, rate_per_minute: float) -> float:
    """Seconds between arrivals number `draw` - 1 and `draw`: exponential with mean 60 / rate."""
    return unit_gap(seed, draw) * 60.0 / rate_per_minute


def unit_gap(seed: int, draw: int) -> float:
    """The k-th number of the seed's sequence of exponentials with mean 1; 0.0 to LONGEST_UNIT_GAP."""
    return -log(((_hash(_hash(seed) + draw * _GOLDEN_GAMMA) >> 11) + 1) * _UNIT)


def _hash(number: int) -> int:
    """SplitMix64's step: a counter becomes 64 random bits, so no state has to be kept between ticks."""
    z = (number + _GOLDEN_GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
