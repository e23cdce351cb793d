"""The shapes that follow the rate: steady, poisson, burst, daily, weekly, by their gaps and their clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from scheduler.arrivals.clocks import ArrivalClock, Uniform
from scheduler.arrivals.gaps import Exponential, Gaps
from scheduler.arrivals.shape import CATCH_UP, Arrival, Due, Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """Arrivals with a mean rate; which one is drawn next depends on the position alone, not on how ticks fall."""

    gaps: Gaps = field(default_factory=Exponential)
    clock: ArrivalClock = field(default_factory=Uniform)

    def due(
        self, now: datetime, position: Position, *, seed: int, rate_per_minute: float, at_most: int | None = None
    ) -> Due:
        if not rate_per_minute > 0:
            raise ValueError(f"rate_per_minute must be above 0, not {rate_per_minute}")
        mean_seconds = 60.0 / rate_per_minute
        after, following, draws = self.clock.after, self.gaps.following, position.draws
        next_at = position.next_at
        start = self._drawn_again_from(now, position, rate_per_minute)
        if start is not None or next_at is None:
            next_at, draws = after(start or now, self.gaps.first(seed, draws) * mean_seconds), draws + 1
        arrivals: list[Arrival] = []
        while next_at <= now and len(arrivals) != at_most:
            arrivals.append(Arrival(draws - 1, next_at))
            next_at, draws = after(next_at, following(seed, draws) * mean_seconds), draws + 1
        return Due(
            arrivals=tuple(arrivals),
            position=Position(draws=draws, next_at=next_at, rate_per_minute=rate_per_minute, row=position.row),
        )

    def paused(self, now: datetime, position: Position) -> Position:
        return Position(draws=position.draws, row=position.row)

    def _drawn_again_from(self, now: datetime, position: Position, rate_per_minute: float) -> datetime | None:
        """The instant from which the pending arrival has to be drawn again, or None."""
        if position.next_at is None or position.rate_per_minute not in {None, rate_per_minute}:
            return now
        if position.next_at > self.clock.after(now, self.gaps.longest * 60.0 / rate_per_minute):
            return now  # The clock was set back: no job would come until it has caught up.
        if position.next_at < now - CATCH_UP:
            return now - CATCH_UP
        return None
