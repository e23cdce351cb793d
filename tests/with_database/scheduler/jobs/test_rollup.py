"""The roll-up counts each ended attempt, in the transaction of its move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from django.db.models import Sum

from scheduler.jobs import lifecycle, rollup
from scheduler.jobs.clock import database_now
from scheduler.jobs.controls import change_control
from scheduler.models import Gpu, Job, JobEvent, Rollup, Tally
from scheduler.rules.states import TERMINAL_STATES, JobState, Reason, Source
from tests.build import ended, make_due, queued, running

pytestmark = pytest.mark.usefixtures("control", "gpus")

NOW = datetime(2026, 3, 20, 15, 30, tzinfo=UTC)


def rows(*fields: str) -> list[tuple]:
    return list(Rollup.objects.order_by("id").values_list(*fields))


def test_a_success_is_counted_under_its_gpu_type_and_priority():
    ended(JobState.SUCCEEDED, gpu=2, type="matrix", params={}, priority="high")

    assert rows("gpu", "type", "priority", "outcome", "reason", "n") == [(2, "matrix", "high", "succeeded", "", 1)]


def test_a_count_stands_under_the_hour_of_the_end():
    job = ended(JobState.SUCCEEDED)

    assert rows("hour") == [(job.finished_at.replace(minute=0, second=0, microsecond=0),)]


def test_equal_ends_share_a_row():
    for _ in range(3):
        ended(JobState.SUCCEEDED)

    assert rows("n") == [(3,)]


def test_a_failure_is_counted_with_its_reason():
    job = running()
    lifecycle.end(job.id, 1, JobState.FAILED, reason=Reason.OUT_OF_MEMORY)

    assert rows("outcome", "reason", "n") == [("failed", "out_of_memory", 1)]


def test_a_charged_requeue_is_counted_on_the_gpu_that_lost_the_job():
    job = running(gpu=1)
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)

    assert rows("gpu", "outcome", "reason") == [(1, "requeued", "child_died")]


def test_a_requeue_without_charge_is_no_failure():
    job = running()
    lifecycle.requeue(job.id, 1, Reason.SHUTDOWN)

    assert rows("outcome") == []


def test_the_last_charge_is_counted_with_its_cause():
    job = running(max_failures=1)
    lifecycle.requeue(job.id, 1, Reason.WORKER_DIED)

    assert rows("outcome", "reason") == [("failed", "worker_died")]


def test_a_job_cancelled_before_it_ran_belongs_to_no_gpu():
    lifecycle.cancel(queued().id, actor="ada")

    assert rows("gpu", "outcome") == [(rollup.NO_GPU, "cancelled")]


def test_a_late_finish_is_not_counted():
    job = running()
    lifecycle.requeue(job.id, 1, Reason.SHUTDOWN)

    lifecycle.end(job.id, 1, JobState.SUCCEEDED)

    assert rows("outcome") == []


# --- expected faults


def test_the_expected_faults_are_the_sum_of_the_rates_at_each_start():
    Gpu.objects.filter(index=0).update(failure_rate=0.25)
    ended(JobState.SUCCEEDED, source=Source.GENERATOR)
    job = running(source=Source.GENERATOR)
    Gpu.objects.filter(index=0).update(failure_rate=1.0)

    lifecycle.end(job.id, 1, JobState.SUCCEEDED)

    assert rows("at_risk", "expected") == [(2, 0.5)]


def test_a_job_that_accepts_no_faults_is_at_no_risk():
    ended(JobState.SUCCEEDED, source=Source.API)

    assert rows("n", "at_risk", "expected") == [(1, 0, 0.0)]


def test_without_a_fault_profile_no_fault_is_expected():
    change_control(actor="ada", fault_profile="none")

    ended(JobState.SUCCEEDED, source=Source.GENERATOR)

    assert rows("at_risk", "expected") == [(1, 0.0)]


def test_an_attempt_that_was_cancelled_tells_nothing_about_faults():
    ended(JobState.CANCELLED, source=Source.GENERATOR)

    assert rows("outcome", "at_risk", "expected") == [("cancelled", 0, 0.0)]


# --- with the books


def test_after_a_random_walk_the_roll_up_agrees_with_events_and_counts():
    rng = Random(5)
    for step in range(150):
        jobs = list(Job.objects.exclude(state__in=TERMINAL_STATES))
        job = rng.choice(jobs) if jobs else queued(max_failures=2)
        match rng.randrange(5):
            case 0 | 1:
                make_due(job)
                lifecycle.claim(job.id, job.attempt, gpu=step % 3, boot=f"boot-{step % 3}")
            case 2:
                state = rng.choice([JobState.SUCCEEDED, JobState.FAILED])
                lifecycle.end(job.id, job.attempt - rng.randrange(2), state)
            case 3:
                lifecycle.requeue(job.id, job.attempt, rng.choice([Reason.CHILD_DIED, Reason.SHUTDOWN]))
            case 4:
                lifecycle.cancel(job.id, actor="a test")

    counted = dict(Rollup.objects.values_list("outcome").annotate(total=Sum("n")))
    for state in TERMINAL_STATES:
        assert counted.get(state, 0) == Tally.objects.total(state), state
    assert counted["requeued"] == JobEvent.objects.filter(kind="requeued", charged=True).count()


# --- folding


def in_hour(hour: datetime, n: int, **fields) -> Rollup:
    values = {"gpu": 0, "type": "sleep", "priority": "low", "outcome": "failed", "reason": "job_error"}
    return Rollup.objects.create(hour=hour, n=n, at_risk=n, expected=n / 10, **(values | fields))


def fold_all(now: datetime) -> None:
    hour = None
    while (hour := rollup.oldest_to_fold(now, hour)) is not None:
        rollup.fold(hour)


def test_old_hours_are_folded_into_their_day_and_nothing_is_lost():
    day = datetime(2026, 3, 2, tzinfo=UTC)
    for hour in (0, 1, 13, 23):
        in_hour(day + timedelta(hours=hour), n=hour + 1)
    in_hour(day + timedelta(hours=13), n=5, reason="out_of_memory")

    fold_all(NOW)

    assert sorted(rows("hour", "reason", "n", "at_risk")) == [(day, "job_error", 41, 41), (day, "out_of_memory", 5, 5)]
    assert Rollup.objects.aggregate(total=Sum("expected"))["total"] == pytest.approx(4.6)


def test_the_hours_of_the_last_week_stay_apart():
    hour = (NOW - timedelta(days=7)).replace(minute=0)
    in_hour(hour, n=1)

    assert rollup.oldest_to_fold(NOW) is None


def test_a_second_fold_of_the_same_hour_adds_nothing():
    hour = datetime(2026, 3, 2, 9, tzinfo=UTC)
    in_hour(hour, n=4)

    folded = [rollup.fold(hour), rollup.fold(hour)]

    assert folded == [1, 0]
    assert rows("n") == [(4,)]


def test_many_rows_are_added_to_what_is_there():
    hour = database_now().replace(minute=0, second=0, microsecond=0)
    in_hour(hour, n=1)

    rollup.add_many([(hour, 0, "sleep", "low", "failed", "job_error", 9, 9, 0.9)])

    assert rows("n", "at_risk", "expected") == [(10, 10, pytest.approx(1.0))]
