"""The speed of the arrivals' clock: constant, or by the hour of the day and the day of the week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

#: A Monday, 00:00.
EPOCH: Final = datetime(1970, 1, 5, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
HOUR_US: Final = 3_600_000_000

HOURS_OF_DAY: Final = 24
DAYS_OF_WEEK: Final = 7


class ArrivalClock(Protocol):
    def after(self, at: datetime, seconds: float) -> datetime:
        """The instant at which `seconds` at the mean rate have passed since `at`."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    def after(self, at: datetime, seconds: float) -> datetime:
        return at + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """The arrival rate follows a repeating list of factors, one for each hour, by an exact change of time.

    factors: the rate of each hour over the mean rate, from Monday 00:00: 24 for a day, 168 for a week. They are scaled
    to a mean of 1. utc_offset_hours: the time zone of that midnight. time_compression: 24 makes a day last one hour.
    """

    factors: Sequence[float]
    utc_offset_hours: float = 0.0
    time_compression: float = 1.0
    _factors: tuple[float, ...] = field(init=False)
    _slot_us: int = field(init=False)
    _offset_us: int = field(init=False)

    def __post_init__(self) -> None:
        mean = sum(self.factors) / len(self.factors)
        slot_us = round(HOUR_US / self.time_compression)
        object.__setattr__(self, "_factors", tuple(factor / mean for factor in self.factors))
        object.__setattr__(self, "_slot_us", slot_us)
        object.__setattr__(self, "_offset_us", round(self.utc_offset_hours * slot_us))

    def factor_at(self, at: datetime) -> float:
        """The rate at an instant, over the mean rate."""
        slot, _ = divmod((at - EPOCH) // MICROSECOND + self._offset_us, self._slot_us)
        return self._factors[slot % len(self._factors)]

    def after(self, at: datetime, seconds: float) -> datetime:
        at_us = (at - EPOCH) // MICROSECOND + self._offset_us
        whole_us = self._slot_us * len(self._factors)
        rounds, needed = divmod(seconds * 1e6, float(whole_us))
        at_us += int(rounds) * whole_us
        slot, passed_us = divmod(at_us, self._slot_us)
        while True:
            factor = self._factors[slot % len(self._factors)]
            room = (self._slot_us - passed_us) * factor
            if needed < room:
                # Rounded, but never into the past.
                reached_us = slot * self._slot_us + passed_us + round(needed / factor)
                return EPOCH + timedelta(microseconds=reached_us - self._offset_us)
            needed -= room
            slot, passed_us = slot + 1, 0


def week(hour_factors: Sequence[float], weekday_factors: Sequence[float]) -> list[float]:
    """The factors of the 168 hours of a week, from those of its hours and its days (Monday first)."""
    return [day * hour for day in weekday_factors for hour in hour_factors]
