"""Makes the jobs that are due: reads its position, draws the arrivals, submits them. One tick a second."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from scheduler.admission import job_request
from scheduler.arrivals import Arrival, arrivals_until
from scheduler.jobmix import DEMO_MIX, draw_job
from scheduler.lifecycle import ROWS_PER_TRANSACTION, JobRequest, SubmittedJob, database_now, submit_chunk
from scheduler.models import Control
from scheduler.states import Source


def tick(now: datetime | None = None) -> list[SubmittedJob]:
    """Submits what has arrived up to `now` (the database's time).

    Idempotent for its time slot: the position moves on in the transaction that inserts the jobs, so a second
    beat, or a tick delivered twice, finds nothing left to do.
    """
    submitted: list[SubmittedJob] = []
    now = now or database_now()
    while True:
        with transaction.atomic():
            made = _tick_once(now)
        submitted += made
        if len(made) < ROWS_PER_TRANSACTION:
            return submitted


def _tick_once(now: datetime) -> list[SubmittedJob]:
    """One transaction of at most ROWS_PER_TRANSACTION jobs, and the position after them."""
    control = Control.objects.select_for_update().filter(paused=False).first()
    if control is None:
        return []
    due = arrivals_until(
        now,
        seed=control.seed,
        draws=control.arrivals,
        next_at=control.next_arrival_at,
        rate_per_minute=control.rate_per_minute,
        at_most=ROWS_PER_TRANSACTION,
    )
    if (due.next_at, due.draws) != (control.next_arrival_at, control.arrivals):
        control.next_arrival_at, control.arrivals = due.next_at, due.draws
        control.save(update_fields=["next_arrival_at", "arrivals"])
    requests = [_request(control.seed, arrival) for arrival in due.arrivals]
    return submit_chunk(requests, name_seed=control.seed) if requests else []


def _request(seed: int, arrival: Arrival) -> JobRequest:
    drawn = draw_job(seed, arrival.number, DEMO_MIX)
    return job_request(type=drawn.type, priority=drawn.priority, params=drawn.params, source=Source.GENERATOR)
