"""Follows jobs until each has ended, and draws how far they are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import batched
from typing import Any, Final

from django.db import connection
from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from cluster_dashboard.console.command import DATABASE_UNAVAILABLE
from cluster_dashboard.console.screen import STATE_STYLE
from cluster_dashboard.live.read import read_redis
from scheduler.models import Job
from scheduler.rules.states import TERMINAL_STATES, JobState

#: Between two looks. Where a look is slow, the pause is longer: looking takes at most a fifth of the time.
LOOK_SECONDS: Final = 0.2
LOOK_SHARE: Final = 0.2

#: Ids in one query.
BATCH: Final = 500

#: A database that is unavailable for a moment does not end a long wait.
PATIENCE_SECONDS: Final = 60.0

#: A job that ended and was removed from the history before we looked.
REMOVED: Final = "removed"

ENDED: Final = frozenset({*TERMINAL_STATES, REMOVED})

#: The state of each job by id.
type States = dict[int, str]


def follow(ids: Sequence[int], states: States) -> Iterator[States]:
    """Gives `states`, which it keeps up to date, after each look; the last time once every job has ended.

    Raises what the database raises if it is unavailable for longer than PATIENCE_SECONDS.
    """
    states.update(dict.fromkeys(ids, JobState.QUEUED))
    answered = time.monotonic()
    while True:
        started = time.monotonic()
        pending = [job_id for job_id in ids if states[job_id] not in ENDED]
        try:
            states.update(_look(pending))
            answered = time.monotonic()
        except DATABASE_UNAVAILABLE:
            connection.close()
            if time.monotonic() - answered > PATIENCE_SECONDS:
                raise
        yield states
        if ENDED.issuperset(states.values()):
            return
        time.sleep(max(LOOK_SECONDS, (time.monotonic() - started) / LOOK_SHARE))


def _look(pending: Sequence[int]) -> States:
    found: States = dict.fromkeys(pending, REMOVED)
    for some in batched(pending, BATCH):
        found.update(Job.objects.filter(id__in=some).values_list("id", "state"))
    return found


# --- the bar --------------------------------------------------------------------------------------


class ProgressBar:
    """A bar on a terminal, nothing elsewhere. The parts of running jobs count, where the broker tells them."""

    def __init__(self, console: Console, client: Redis, total: int, *, shown: bool = True) -> None:
        self._client = client
        self._progress = Progress(
            TextColumn("{task.fields[ended]}/{task.total:.0f}"),
            BarColumn(),
            StatesColumn(),
            TimeElapsedColumn(),
            console=console,
            # Drawn after each look: a thread of its own would draw the same again.
            auto_refresh=False,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._progress.add_task("", total=total, ended=0, states=Counter())

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, states: States) -> None:
        if self._progress.disable:
            return
        counts = Counter(states.values())
        ended = sum(n for state, n in counts.items() if state in ENDED)
        running = {job_id for job_id, state in states.items() if state == JobState.RUNNING}
        self._progress.update(
            self._task, completed=ended + self._shares(running), ended=ended, states=counts, refresh=True
        )

    def _shares(self, running: set[int]) -> float:
        """How much of them is done, in jobs."""
        try:
            samples = read_redis(self._client).samples.values() if running else ()
        except (RedisError, OSError):
            return 0.0  # the bar then moves by whole jobs
        return sum(live.progress or 0.0 for live in samples if live.held is not None and live.held[0] in running)


class StatesColumn(ProgressColumn):
    """Such as `2 running  15 queued  1 failed`."""

    def render(self, task: Task) -> Text:
        counts: Counter[str] = task.fields["states"]
        order: list[Any] = [JobState.RUNNING, JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED]
        parts = [
            Text(f"{counts[state]} {state}  ", style=STATE_STYLE.get(state, ""))
            for state in [*order, JobState.CANCELLED, REMOVED]
            if counts[state]
        ]
        return Text.assemble(*parts)
