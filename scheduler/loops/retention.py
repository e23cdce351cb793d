"""Retention: jobs that ended long ago are removed in small transactions, each with a checkpoint that counts them.

Totals (Tally, Rollup) and audit events stay, and so does a job that has not ended, whatever its age.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, QuerySet
from django.db.models.functions import Greatest

from scheduler.jobs import rollup
from scheduler.jobs.clock import database_now
from scheduler.jobs.submit import ROWS_PER_TRANSACTION
from scheduler.logs import event_logger
from scheduler.loops.clock_watch import CLOCK_SET
from scheduler.models import Checkpoint, ClusterEvent, Job, JobEvent
from scheduler.rules.states import TERMINAL_STATES, EventKind, JobState

log = event_logger(__name__)

#: After this time a tick starts no further transaction, since the generator's tick waits for it.
TICK_SECONDS: Final = 0.25


#: For this time after the clock was set forward by FORWARD_SECONDS or more nothing is removed: a clock that is wrong by
#: that much is mostly corrected within a day.
HOLD: Final = timedelta(days=1)
FORWARD_SECONDS: Final = 3600.0


@dataclass(slots=True)
class History:
    """retention: None: settings.RETENTION. clock: monotonic seconds."""

    retention: timedelta | None = None
    clock: Callable[[], float] = time.monotonic
    _folded_to: datetime | None = None
    _held: bool = False

    def tick(self) -> int:
        """Returns the number of jobs removed. The next tick continues with what is left."""
        stop_at = self.clock() + TICK_SECONDS
        now = database_now()
        before = now - (settings.RETENTION if self.retention is None else self.retention)
        removed = 0
        if self._has_something_to_remove(before) and not self._is_held(now):
            while self.clock() < stop_at and (n := remove_jobs(before)):
                removed += n
            while self.clock() < stop_at and remove_cluster_events(before):
                pass
        while self.clock() < stop_at and (hour := rollup.oldest_to_fold(now, self._folded_to)) is not None:
            rollup.fold(hour)
            self._folded_to = hour
        if removed:
            log.info("history_removed", jobs=removed, ended_before=before.isoformat(timespec="seconds"))
        return removed

    def _has_something_to_remove(self, before: datetime) -> bool:
        return _ended(before).exists() or bool(_old_cluster_events(before))

    def _is_held(self, now: datetime) -> bool:
        """Whether the clock was lately set forward by hours: perhaps it is wrong, and all of the history would go."""
        is_held = any(
            (after or {}).get("moved_seconds", 0) >= FORWARD_SECONDS
            for after in ClusterEvent.objects.filter(kind=CLOCK_SET, at__gte=now - HOLD, at__lte=now).values_list(
                "after", flat=True
            )
        )
        if is_held and not self._held:
            log.warning("retention_held", reason="the clock was set forward", hours=HOLD / timedelta(hours=1))
        self._held = is_held
        return is_held


def remove_jobs(before: datetime) -> int:
    """One transaction: the jobs that ended first, with their events, at most ROWS_PER_TRANSACTION rows (a job with
    more events is removed alone). Returns the number of jobs.

    Two calls at the same time are safe: the second waits for the first one's rows and then finds them gone.
    """
    if not _ended(before).exists():
        return 0
    day = database_now().date()
    Checkpoint.objects.bulk_create([Checkpoint(day=day)], ignore_conflicts=True)
    with transaction.atomic():
        jobs = _take(before)
        ids = [job.id for job in jobs]
        if not ids:
            return 0
        _account_for(jobs, day, before)
        JobEvent.objects.filter(job_id__in=ids).delete()
        Job.objects.filter(id__in=ids).delete()
    return len(jobs)


def remove_cluster_events(before: datetime) -> int:
    """One transaction. Events of people stay: they are the audit log."""
    old = _old_cluster_events(before)
    if old:
        ClusterEvent.objects.filter(id__in=old).delete()
    return len(old)


def _old_cluster_events(before: datetime) -> list[int]:
    """Of the first ones, which have no index by time."""
    oldest = ClusterEvent.objects.filter(actor="").order_by("id").values_list("id", "at")[:ROWS_PER_TRANSACTION]
    return [event_id for event_id, at in oldest if at < before]


def _ended(before: datetime) -> QuerySet[Job]:
    return Job.objects.filter(state__in=TERMINAL_STATES, finished_at__lt=before)


def _take(before: datetime) -> Sequence[Job]:
    # A finished job never changes again, so what is read here is what is removed.
    oldest = _ended(before).order_by("finished_at", "id").only("id", "state", "event_count").select_for_update()
    taken: list[Job] = []
    rows = 0
    for job in oldest[:ROWS_PER_TRANSACTION]:
        rows += 1 + job.event_count
        if taken and rows > ROWS_PER_TRANSACTION:
            break
        taken.append(job)
    return taken


def _account_for(jobs: Sequence[Job], day: date, before: datetime) -> None:
    events = JobEvent.objects.filter(job_id__in=[job.id for job in jobs])
    states = Counter(job.state for job in jobs)
    Checkpoint.objects.filter(day=day).update(
        at=database_now(),
        older_than=before,
        job=Greatest(F("job"), max(job.id for job in jobs)),
        event=Greatest(F("event"), events.aggregate(last=Max("id"))["last"] or 0),
        succeeded=F("succeeded") + states[JobState.SUCCEEDED],
        failed=F("failed") + states[JobState.FAILED],
        cancelled=F("cancelled") + states[JobState.CANCELLED],
        events=F("events") + events.count(),
        starts=F("starts") + events.filter(kind=EventKind.STARTED).count(),
    )
