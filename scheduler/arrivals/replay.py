"""Arrivals as a trace recorded them, faster by a factor."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.arrivals.shape import CATCH_UP, Arrival, Due, Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Jobs in the order of their submission, column by column: a trace has a hundred thousand of them.

    offsets_us: submission, in microseconds after the first job's. seconds: how long each ran.
    gpus: how many it asked for. loads: share of its GPU that it was given, where the trace says so.
    """

    offsets_us: array[int]
    seconds: array[float]
    gpus: array[int]
    loads: array[float] | None = None

    def __len__(self) -> int:
        return len(self.offsets_us)

    @property
    def period_us(self) -> int:
        """The trace may begin again after this: its length and one mean gap, or a second."""
        last = self.offsets_us[-1]
        return last + (last // (len(self) - 1) if len(self) > 1 else 0) or 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The rate has no effect; a pause stops the trace's time, which then continues from the same instant."""

    trace: Trace
    time_compression: float
    repeat: bool = False

    def due(
        self, now: datetime, position: Position, *, seed: int, rate_per_minute: float, at_most: int | None = None
    ) -> Due:
        if self._is_over(position.row):
            return Due(arrivals=(), position=Position(draws=position.draws, row=position.row))
        row, draws, next_at = position.row, position.draws, self._next_at(now, position)
        arrivals: list[Arrival] = []
        while next_at <= now and len(arrivals) != at_most:
            arrivals.append(Arrival(draws, next_at, row % len(self.trace)))
            row, draws = row + 1, draws + 1
            if self._is_over(row):
                return Due(arrivals=tuple(arrivals), position=Position(draws=draws, row=row), ended=True)
            next_at += self._gap(row)
        return Due(arrivals=tuple(arrivals), position=Position(draws=draws, row=row, next_at=next_at))

    def paused(self, now: datetime, position: Position) -> Position:
        if position.next_at is None:
            return position
        wait = min(max(position.next_at - now, timedelta()), self._gap(position.row))
        return Position(draws=position.draws, row=position.row, wait=wait)

    def _is_over(self, row: int) -> bool:
        return not self.repeat and row >= len(self.trace)

    def _next_at(self, now: datetime, position: Position) -> datetime:
        """The pending row's instant; a stall or a clock that was set moves all that follows."""
        gap = self._gap(position.row)
        if position.next_at is None:
            return now + (gap if position.wait is None else position.wait)
        return min(max(position.next_at, now - CATCH_UP), now + gap)

    def _gap(self, row: int) -> timedelta:
        """Between a row and the one before it."""
        return timedelta(microseconds=self._offset_us(row) - self._offset_us(row - 1)) if row else timedelta()

    def _offset_us(self, row: int) -> int:
        times, row = divmod(row, len(self.trace))
        return round((times * self.trace.period_us + self.trace.offsets_us[row]) / self.time_compression)
