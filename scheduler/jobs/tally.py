"""The live counts (scheduler.models.Tally): changed in the transaction of each move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.db import connection

from scheduler.jobs import statements
from scheduler.rules.states import JobState, Priority

#: The shard of every process that is not a GPU worker.
SHARED_SHARD: Final = -1


def moved(priority: Priority, old: JobState, new: JobState) -> list[tuple[Priority, str, int]]:
    return [(priority, old, -1), (priority, new, 1)]


def count(shard: int, changes: Iterable[tuple[Priority, str, int]]) -> None:
    # Sorted, so that two transactions never lock the same rows in opposite order.
    rows = sorted((shard, str(priority), str(word), n) for priority, word, n in changes)
    with connection.cursor() as cursor:
        cursor.execute(statements.tally(len(rows)), [value for row in rows for value in row])
