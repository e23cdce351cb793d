"""Arrivals that cannot be made into a job: skipped, counted, and said once an hour for each cause."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models.functions import Now

from scheduler.jobs import tally
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent
from scheduler.rules.states import Priority
from scheduler.storable import error_text, storable_text

log = event_logger(__name__)

#: The word of the live count. Of a job that does not exist there is no priority: it is counted under NORMAL.
ARRIVAL_SKIPPED: Final = "arrival_skipped"
SAID_EVERY: Final = timedelta(hours=1)


def skip(job_type: str, error: BaseException) -> None:
    """Call it in the transaction that moves the generator on: an arrival that is not undone is counted once."""
    tally.count(tally.SHARED_SHARD, [(Priority.NORMAL, ARRIVAL_SKIPPED, 1)])
    cause = storable_text(f"Arrivals of the job type {job_type:.60} are skipped: {type(error).__name__:.60}")
    said = ClusterEvent.objects.filter(kind=ARRIVAL_SKIPPED, message__startswith=cause, at__gte=Now() - SAID_EVERY)
    if not said.exists():
        message = storable_text(f"{cause}: {error_text(error)}")[:300]
        log.warning("arrival_skipped", words=message)
        ClusterEvent.objects.create(kind=ARRIVAL_SKIPPED, message=message)
