"""Totals for /metrics: from the counters that each move updates, never by counting jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Sum

from scheduler.jobs.rollup import NO_GPU
from scheduler.models import Rollup
from scheduler.rules.states import TERMINAL_STATES, EventKind, JobState

#: One statement, so that all counts are of one moment: some are subtracted from others.
#: Parameter: the first hour to add up; TotalsReader remembers the sums before it.
_TOTALS: Final = """
SELECT 0, priority, word, SUM(n) FROM scheduler_tally GROUP BY priority, word
UNION ALL
SELECT CASE WHEN gpu = -1 THEN 1 ELSE 2 END, outcome, reason, SUM(n) FROM scheduler_rollup WHERE hour >= %s
 GROUP BY CASE WHEN gpu = -1 THEN 1 ELSE 2 END, outcome, reason
"""

#: Older hours no longer change; they are added up once an hour.
_SETTLED: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """words: by priority and word of Tally. ended: attempts by outcome and reason. ran: by outcome, if on a GPU."""

    words: Counter[tuple[str, str]]
    ended: Counter[tuple[str, str]]
    ran: Counter[str]

    def of(self, word: str) -> int:
        return sum(n for (_, each), n in self.words.items() if each == word)

    @property
    def outcomes(self) -> Counter[str]:
        """Attempts by outcome, those of jobs that were cancelled before they ran included."""
        found: Counter[str] = Counter()
        for (outcome, _), n in self.ended.items():
            found[outcome] += n
        return found

    @property
    def requeued_charged(self) -> int:
        return self.ran[EventKind.REQUEUED]

    @property
    def requeued_uncharged(self) -> int:
        """Attempts that started, do not run any more and have no other end."""
        ended = sum(self.ran[state] for state in TERMINAL_STATES) + self.requeued_charged
        return max(0, self.of(EventKind.STARTED) - self.of(JobState.RUNNING) - ended)


@dataclass(slots=True)
class TotalsReader:
    """Remembers the sums of past hours: years of history cost one query an hour."""

    _settled_to: datetime | None = None
    _settled: list[tuple[int, str, str, int]] = field(default_factory=list)

    def read(self, now: datetime) -> Totals:
        hour = now.replace(minute=0, second=0, microsecond=0) - _SETTLED
        if hour != self._settled_to:
            self._settled, self._settled_to = _settled_rows(hour), hour
        with connection.cursor() as cursor:
            cursor.execute(_TOTALS, (connection.ops.adapt_datetimefield_value(hour),))
            rows = [*cursor.fetchall(), *self._settled]
        return _totals(rows)


def _settled_rows(before: datetime) -> list[tuple[int, str, str, int]]:
    old = Rollup.objects.filter(hour__lt=before).order_by()
    sides = ((1, old.filter(gpu=NO_GPU)), (2, old.exclude(gpu=NO_GPU)))
    return [
        (side, outcome, reason, int(n))
        for side, rows in sides
        for outcome, reason, n in rows.values_list("outcome", "reason").annotate(total=Sum("n"))
    ]


def _totals(rows: list[Any]) -> Totals:
    words: Counter[tuple[str, str]] = Counter()
    ended: Counter[tuple[str, str]] = Counter()
    ran: Counter[str] = Counter()
    for side, first, second, n in rows:
        if side == 0:
            words[first, second] += int(n)
            continue
        ended[first, second] += int(n)
        if side == 2:
            ran[first] += int(n)
    return Totals(words=words, ended=ended, ran=ran)
