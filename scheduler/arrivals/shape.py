"""The interface of all shapes of arrivals: what they receive and return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

#: After a pause of the generator itself, this much time is made up for, not hours of it.
CATCH_UP: Final = timedelta(seconds=15)


class Arrival(NamedTuple):
    """One job that is due. `number` is unique for the seed; `row` is the trace's row in a replay.

    A named tuple, since up to 1,700 of them are made each second.
    """

    number: int
    at: datetime
    row: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The generator's position. Times are whole microseconds, so that a database stores them exactly.

    draws: how many arrivals were drawn; the pending one is number draws - 1 (in a replay: draws).
    next_at: the pending arrival; None: it is drawn again, from now.
    rate_per_minute: the rate for which next_at was drawn; None: unknown.
    row: the next row of the trace. wait: the time until it, while no arrival is pending.
    """

    draws: int = 0
    next_at: datetime | None = None
    rate_per_minute: float | None = None
    row: int = 0
    wait: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What one tick found, and the position to go on from. ended: a trace has just come to its end."""

    arrivals: tuple[Arrival, ...]
    position: Position
    ended: bool = False


class Shape(Protocol):
    """A strategy: when jobs arrive."""

    def due(
        self, now: datetime, position: Position, *, seed: int, rate_per_minute: float, at_most: int | None = None
    ) -> Due:
        """The arrivals up to and including `now`, the first `at_most` of them."""
        ...

    def paused(self, now: datetime, position: Position) -> Position:
        """The position to keep while no job may arrive; a second call changes nothing."""
        ...
