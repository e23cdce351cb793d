"""Retention: what is removed, what stays, and what the checkpoint says of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from scheduler.jobs import lifecycle
from scheduler.jobs.clock import database_now
from scheduler.loops.retention import History, remove_jobs
from scheduler.models import Checkpoint, ClusterEvent, Job, JobEvent, Rollup, Tally
from scheduler.rules.states import JobState, Reason
from tests.build import ended, make_due, queued, running, submit

pytestmark = pytest.mark.usefixtures("control", "gpus")

DAYS = timedelta(days=30)


def ended_days_ago(days: float, state: JobState = JobState.SUCCEEDED, **fields) -> Job:
    job = ended(state, **fields)
    Job.objects.filter(id=job.id).update(finished_at=database_now() - timedelta(days=days))
    return job


def cancelled_days_ago(days: float, count: int) -> None:
    jobs = [job.id for job in submit(count)]
    for job_id in jobs:
        lifecycle.cancel(job_id, actor="a test")
    Job.objects.filter(id__in=jobs).update(finished_at=database_now() - timedelta(days=days))


def tick(**options) -> int:
    return History(retention=DAYS, **options).tick()


def test_what_ended_longer_ago_is_removed_with_its_events():
    old, young = ended_days_ago(31), ended_days_ago(29)

    assert tick() == 1

    assert list(Job.objects.values_list("id", flat=True)) == [young.id]
    assert not JobEvent.objects.filter(job_id=old.id).exists()
    assert young.events.count() == 3


def test_the_setting_decides_how_long():
    ended_days_ago(29)

    assert History().tick() == 0
    assert History(retention=timedelta(days=28)).tick() == 1


def test_what_has_not_ended_stays_whatever_its_age():
    jobs = [queued(), running(gpu=0)]
    requeued = running(gpu=1)
    lifecycle.requeue(requeued.id, 1, Reason.CHILD_DIED)
    long_ago = database_now() - timedelta(days=400)
    Job.objects.update(submitted_at=long_ago, queued_at=long_ago)

    assert tick() == 0

    assert Job.objects.count() == len([*jobs, requeued])


def test_totals_stay():
    ended_days_ago(31)
    ended_days_ago(31, JobState.FAILED)

    tick()

    assert (Tally.objects.total("succeeded"), Tally.objects.total("failed")) == (1, 1)
    assert Rollup.objects.aggregate(n=Sum("n"))["n"] == 2


def test_the_checkpoint_accounts_for_what_was_removed():
    retried = running()
    lifecycle.requeue(retried.id, 1, Reason.CHILD_DIED)
    make_due(retried)
    lifecycle.claim(retried.id, 2, gpu=1, boot="boot-1")
    lifecycle.end(retried.id, 2, JobState.SUCCEEDED)
    Job.objects.update(finished_at=database_now() - timedelta(days=31))
    failed = ended_days_ago(31, JobState.FAILED)
    cancelled_days_ago(31, 1)
    last_job, last_event = Job.objects.latest("id").id, JobEvent.objects.latest("id").id

    tick()

    found = Checkpoint.objects.get()
    assert (found.succeeded, found.failed, found.cancelled) == (1, 1, 1)
    assert (found.starts, found.events) == (3, 5 + 3 + 2)
    assert (found.job, found.event) == (last_job, last_event)
    assert failed.id <= found.job
    assert found.older_than == pytest.approx(database_now() - DAYS, abs=timedelta(minutes=1))


def test_removals_of_one_day_share_a_checkpoint():
    ended_days_ago(31)
    tick()
    ended_days_ago(31)
    tick()

    assert Checkpoint.objects.get().succeeded == 2


def test_without_a_removal_there_is_no_checkpoint():
    ended_days_ago(1)

    tick()

    assert not Checkpoint.objects.exists()


def test_submitted_is_what_is_here_and_what_the_checkpoints_count():
    cancelled_days_ago(31, 7)
    submit(5)

    tick()

    removed = Checkpoint.objects.aggregate(n=Sum("succeeded") + Sum("failed") + Sum("cancelled"))["n"]
    assert Job.objects.count() + removed == Tally.objects.total("submitted") == 12


def test_a_transaction_removes_at_most_250_rows():
    cancelled_days_ago(31, 200)

    removed = [remove_jobs(database_now() - DAYS) for _ in range(4)]

    assert removed == [83, 83, 34, 0]  # three rows each: the job and its two events


def test_a_job_with_more_events_than_a_transaction_takes_goes_alone():
    cancelled_days_ago(31, 2)
    first = Job.objects.earliest("id")
    Job.objects.filter(id=first.id).update(event_count=400, finished_at=database_now() - timedelta(days=32))

    assert remove_jobs(database_now() - DAYS) == 1
    assert not Job.objects.filter(id=first.id).exists()


def test_a_tick_whose_time_is_up_leaves_the_rest_for_the_next():
    cancelled_days_ago(31, 200)
    times = iter([0.0, 0.1, 0.2, 0.3, 0.3, 0.3])

    assert tick(clock=lambda: next(times)) == 166
    assert Job.objects.count() == 34


def test_two_at_once_remove_and_count_each_job_once():
    cancelled_days_ago(31, 120)
    before = database_now() - DAYS

    def remove(_: int) -> int:
        try:
            removed = 0
            while n := remove_jobs(before):
                removed += n
            return removed
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        removed = list(pool.map(remove, range(2)))

    assert sum(removed) == 120 == Checkpoint.objects.get().cancelled
    assert not Job.objects.exists()


def test_events_of_the_cluster_go_too_but_the_audit_stays():
    long_ago = database_now() - timedelta(days=31)
    ClusterEvent.objects.create(at=long_ago, kind="fault", message="GPU 1: fault injected")
    audit = ClusterEvent.objects.create(at=long_ago, kind="control", actor="ada", message="Arrivals paused, by ada")
    young = ClusterEvent.objects.create(kind="fault", message="GPU 2: fault injected")

    tick()

    assert set(ClusterEvent.objects.values_list("id", flat=True)) == {audit.id, young.id}


def test_old_hours_are_folded_along():
    hour = (database_now() - timedelta(days=12)).replace(hour=5, minute=0, second=0, microsecond=0)
    Rollup.objects.create(
        hour=hour, gpu=0, type="sleep", priority="low", outcome="failed", reason="", n=3, at_risk=0, expected=0
    )

    tick()

    assert Rollup.objects.get().hour == hour.replace(hour=0)


def test_a_tick_with_nothing_to_do_asks_little():
    ended_days_ago(1)
    keeper = History(retention=DAYS)
    keeper.tick()

    with CaptureQueriesContext(connection) as queries:
        keeper.tick()

    assert len(queries) <= 4


def clock_was_set(seconds: float, *, hours_ago: float) -> None:
    ClusterEvent.objects.create(
        kind="clock_set",
        message="a test",
        at=database_now() - timedelta(hours=hours_ago),
        after={"clock": "", "moved_seconds": seconds, "unseen_seconds": 0.5},
    )


@pytest.mark.parametrize(
    ("seconds", "hours_ago", "removed"),
    [(7 * 86_400, 2, 0), (7 * 86_400, 25, 1), (7 * 86_400, -25, 1), (60, 2, 1), (-86_400, 2, 1)],
    ids=["far forward", "a day ago", "by a clock that was set back since", "a little", "back"],
)
def test_a_clock_that_was_set_far_forward_removes_nothing_for_a_day(seconds: float, hours_ago: float, removed: int):
    ended_days_ago(31)
    clock_was_set(seconds, hours_ago=hours_ago)

    assert tick() == removed


def test_a_held_removal_is_logged_once(caplog):
    ended_days_ago(31)
    clock_was_set(86_400, hours_ago=0)
    history = History(retention=DAYS)

    for _ in range(3):
        history.tick()

    assert [record.message for record in caplog.records].count("retention_held") == 1
