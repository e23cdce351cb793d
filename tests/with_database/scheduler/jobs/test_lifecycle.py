"""A job's life, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from random import Random

import pytest
from django.db import connection

from scheduler.job_type import ParamsInvalid
from scheduler.jobs import lifecycle
from scheduler.jobs import submit as intake
from scheduler.jobs.admission import job_requests
from scheduler.jobs.lifecycle import CancelOutcome, Claimed
from scheduler.models import Allocation, Gpu, Job, JobEvent, Tally
from scheduler.rules.placement import ClaimRefusal
from scheduler.rules.states import TERMINAL_STATES, TRANSITIONS, IllegalMove, JobState, Priority, Reason, Source
from tests.build import ended, in_state, make_due, queued, reread, running, story, submit

pytestmark = pytest.mark.usefixtures("gpus")


def in_threads(call, arguments):
    """Each call in a thread of its own, with a connection of its own."""

    def run(argument):
        try:
            return call(argument)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(run, arguments))


# --- submit


def test_a_submitted_job_waits_with_its_first_event():
    job = queued(priority="high")

    assert (job.state, job.attempt, job.failures) == ("queued", 1, 0)
    assert story(job) == [(1, "submitted", 1)]
    assert Tally.objects.by_priority("queued") == {"high": 1}


def test_ids_of_many_jobs_are_consecutive_and_their_names_unique():
    jobs = submit(600)

    assert [job.id for job in jobs] == list(range(jobs[0].id, jobs[0].id + 600))
    assert len({job.name for job in jobs}) == 600


def test_submitters_at_once_get_different_ids():
    found = in_threads(lambda _: [job.id for job in submit(20)], range(6))

    assert len({job_id for ids in found for job_id in ids}) == 120


def test_a_user_who_guesses_our_next_name_does_not_stop_us():
    first = queued()
    coming = intake.job_name(first.id + 2, "sleep", Priority.NORMAL, 0)
    queued(name=coming)

    assert queued().name == f"{coming}.{first.id + 2}"


def test_a_job_that_fits_no_gpu_is_refused():
    with pytest.raises(ParamsInvalid, match="largest GPU has 81559"):
        job_requests(type="sleep", params={"memory_mib": 81560}, source=Source.API)


# --- claim


def test_one_of_many_claims_wins():
    job = queued()

    found = in_threads(lambda gpu: lifecycle.claim(job.id, 1, gpu=gpu, boot=f"boot-{gpu}"), [0, 1, 2])

    assert sum(isinstance(claim, Claimed) for claim in found) == 1
    assert found.count(ClaimRefusal.STALE) == 2
    assert story(job) == [(1, "submitted", 1), (2, "started", 1)]


def test_a_gpu_takes_one_job_of_many_claims_at_once():
    jobs = submit(4)

    found = in_threads(lambda job: lifecycle.claim(job.id, 1, gpu=0, boot="boot-0"), jobs)

    assert sum(isinstance(claim, Claimed) for claim in found) == 1
    assert {claim for claim in found if isinstance(claim, ClaimRefusal)} == {ClaimRefusal.GPU_BUSY}
    assert Allocation.objects.count() == Job.objects.running().count() == 1


def test_a_claim_tells_what_to_run():
    job = queued(type="sleep", params={"seconds": 1.5}, priority="critical")

    claimed = lifecycle.claim(job.id, 1, gpu=2, boot="boot-2")

    assert isinstance(claimed, Claimed)
    assert (claimed.type, claimed.params["seconds"], claimed.priority) == ("sleep", 1.5, Priority.CRITICAL)
    job = reread(job)
    assert (job.state, job.gpu, job.boot) == ("running", 2, "boot-2")
    assert job.started_at >= job.submitted_at


@pytest.mark.parametrize("attempt", [0, 2])
def test_a_hint_with_another_attempt_is_stale(attempt):
    job = queued()

    assert lifecycle.claim(job.id, attempt, gpu=0, boot="boot-0") is ClaimRefusal.STALE


def test_a_hint_for_a_job_that_never_was_is_stale():
    assert lifecycle.claim(999_999, 1, gpu=0, boot="boot-0") is ClaimRefusal.STALE


def test_a_job_is_not_claimed_before_its_time():
    job = queued()
    Job.objects.filter(id=job.id).update(not_before=job.submitted_at + timedelta(hours=1))

    assert lifecycle.claim(job.id, 1, gpu=0, boot="boot-0") is ClaimRefusal.STALE


def test_a_job_may_be_claimed_in_the_very_moment_it_was_submitted():
    """The database's clock may have the grain of a millisecond, and writes its times as text."""
    for _ in range(50):
        job = queued()
        assert isinstance(lifecycle.claim(job.id, 1, gpu=0, boot="boot-0"), Claimed)
        lifecycle.end(job.id, 1, JobState.SUCCEEDED)


def test_a_job_that_needs_more_memory_goes_elsewhere():
    Gpu.objects.filter(index=0).update(memory_total_mib=16_000)
    job = queued(params={"seconds": 0, "memory_mib": 20_000})

    assert lifecycle.claim(job.id, 1, gpu=0, boot="boot-0") is ClaimRefusal.TOO_BIG
    assert isinstance(lifecycle.claim(job.id, 1, gpu=1, boot="boot-1"), Claimed)


def test_a_job_that_failed_on_a_gpu_is_left_to_another_one_for_a_while():
    job = running(gpu=0)
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)
    Job.objects.filter(id=job.id).update(not_before=job.submitted_at)

    assert lifecycle.claim(job.id, 2, gpu=0, boot="boot-0") is ClaimRefusal.ELSEWHERE
    assert isinstance(lifecycle.claim(job.id, 2, gpu=1, boot="boot-1"), Claimed)


def test_where_no_other_gpu_is_it_may_run_again_on_the_same_one():
    Gpu.objects.exclude(index=0).update(drained=True)
    job = running(gpu=0)
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)
    Job.objects.filter(id=job.id).update(not_before=job.submitted_at)

    assert isinstance(lifecycle.claim(job.id, 2, gpu=0, boot="boot-0"), Claimed)


# --- end


def test_a_finished_job_keeps_its_result_and_frees_its_gpu():
    job = running()

    assert lifecycle.end(job.id, 1, JobState.SUCCEEDED, result={"pi": 3.14})

    job = reread(job)
    assert (job.state, job.result) == ("succeeded", {"pi": 3.14})
    assert job.finished_at >= job.started_at
    assert not Allocation.objects.exists()
    assert Tally.objects.total("succeeded") == 1
    assert Tally.objects.total("running") == 0


def test_a_late_finish_of_a_dead_worker_is_refused_and_counted():
    job = running()
    lifecycle.requeue(job.id, 1, Reason.WORKER_DIED)
    make_due(job)
    lifecycle.claim(job.id, 2, gpu=1, boot="boot-1")

    assert lifecycle.end(job.id, 1, JobState.SUCCEEDED, result={"from": "the dead"}) is False

    assert reread(job).state == "running"
    assert Tally.objects.total("commit_refused") == 1
    assert lifecycle.end(job.id, 2, JobState.SUCCEEDED, result={"from": "the living"})
    assert reread(job).result == {"from": "the living"}


def test_a_second_finish_is_refused():
    job = ended(JobState.SUCCEEDED)

    assert lifecycle.end(job.id, 1, JobState.FAILED) is False
    assert reread(job).state == "succeeded"


def test_finish_against_cancel_has_exactly_one_winner():
    for _ in range(10):
        job = running()
        lifecycle.cancel(job.id, actor="a test")

        def finish(how, job=job):
            if how == "finish":
                return lifecycle.end(job.id, 1, JobState.SUCCEEDED)
            return lifecycle.requeue(job.id, 1, Reason.CANCEL) is not None

        assert sorted(in_threads(finish, ["finish", "cancel"])) == [False, True]
        assert reread(job).state in {"succeeded", "cancelled"}
        assert [n for n, _, _ in story(job)] == [1, 2, 3, 4]


# --- requeue


def test_a_requeued_job_waits_with_the_next_attempt_and_a_charge():
    job = running()

    assert lifecycle.requeue(job.id, 1, Reason.WORKER_DIED) is JobState.QUEUED

    again = reread(job)
    assert (again.state, again.attempt, again.failures, again.reason) == ("queued", 2, 1, "worker_died")
    assert again.not_before > again.queued_at
    assert not Allocation.objects.exists()
    event = again.events.get(kind="requeued")
    assert (event.charged, event.attempt, event.gpu) == (True, 1, 0)


def test_a_requeue_without_fault_charges_nothing_and_does_not_wait():
    job = running()

    lifecycle.requeue(job.id, 1, Reason.SHUTDOWN)

    again = reread(job)
    assert (again.attempt, again.failures) == (2, 0)
    assert again.not_before <= again.queued_at


def test_a_requeue_with_an_old_attempt_changes_nothing():
    job = running()
    lifecycle.requeue(job.id, 1, Reason.SHUTDOWN)

    assert lifecycle.requeue(job.id, 1, Reason.WORKER_DIED) is None
    assert reread(job).failures == 0


def test_a_poison_job_starts_exactly_max_failures_times():
    job = queued(max_failures=3)
    starts = 0
    while reread(job).state == "queued":
        make_due(job)
        starts += isinstance(lifecycle.claim(job.id, reread(job).attempt, gpu=0, boot="boot-0"), Claimed)
        lifecycle.requeue(job.id, reread(job).attempt, Reason.CHILD_DIED)

    job = reread(job)
    assert (starts, job.state, job.reason, job.failures) == (3, "failed", "exhausted", 3)


def test_two_finders_of_one_death_charge_it_once():
    job = running()

    found = in_threads(lambda reason: lifecycle.requeue(job.id, 1, reason), [Reason.WORKER_DIED, Reason.CHILD_DIED])

    assert sorted(found, key=str) == [None, JobState.QUEUED]
    assert reread(job).failures == 1


def test_a_new_boot_finds_what_the_older_one_left_on_its_gpu():
    left, _ = running(gpu=0, boot="old"), running(gpu=1, boot="boot-1")

    assert lifecycle.left_by_older_boots(0, boot="new") == [(left.id, 1)]
    assert lifecycle.left_by_older_boots(0, boot="old") == []
    assert lifecycle.left_by_older_boots(1, boot="boot-1") == []


# --- cancel


def test_a_waiting_job_is_cancelled_at_once():
    job = queued()

    assert lifecycle.cancel(job.id, actor="ada") is CancelOutcome.CANCELLED

    assert reread(job).state == "cancelled"
    assert lifecycle.claim(job.id, 1, gpu=0, boot="boot-0") is ClaimRefusal.STALE
    assert job.events.get(kind="cancelled").detail == "by ada"


def test_a_running_job_is_marked_and_ends_when_its_worker_lets_go():
    job = running()

    assert lifecycle.cancel(job.id, actor="ada") is CancelOutcome.REQUESTED
    assert lifecycle.cancel(job.id, actor="ada") is CancelOutcome.REQUESTED
    assert reread(job).state == "running"
    assert lifecycle.requeue(job.id, 1, Reason.CANCEL) is JobState.CANCELLED

    assert [kind for _, kind, _ in story(job)] == ["submitted", "started", "cancel_requested", "cancelled"]


def test_a_cancelled_job_does_not_come_back_when_its_worker_dies():
    job = running()
    lifecycle.cancel(job.id, actor="ada")

    assert lifecycle.requeue(job.id, 1, Reason.WORKER_DIED) is JobState.CANCELLED


# --- the table, pair by pair


MOVES = {
    JobState.RUNNING: lambda job: isinstance(lifecycle.claim(job.id, job.attempt, gpu=1, boot="boot-1"), Claimed),
    JobState.QUEUED: lambda job: lifecycle.requeue(job.id, job.attempt, Reason.OPERATOR) is not None,
    JobState.SUCCEEDED: lambda job: lifecycle.end(job.id, job.attempt, JobState.SUCCEEDED),
    JobState.FAILED: lambda job: lifecycle.end(job.id, job.attempt, JobState.FAILED, reason=Reason.JOB_ERROR),
    JobState.CANCELLED: lambda job: (
        lifecycle.cancel(job.id, actor="a test") is CancelOutcome.CANCELLED
        or lifecycle.requeue(job.id, job.attempt, Reason.CANCEL) is JobState.CANCELLED
    ),
}


@pytest.mark.parametrize(("state", "wanted"), list(product(JobState, JobState)))
def test_every_pair_of_states_moves_as_the_table_says(state, wanted):
    job = in_state(state)
    before, events = reread(job), job.events.count()

    moved = MOVES[wanted](job)

    legal = (state, wanted) in TRANSITIONS
    assert moved is legal
    after = reread(job)
    assert after.state == (wanted if legal else state)
    # Each move wrote its event; what was refused wrote none (a cancel of a running job writes its request first).
    assert after.event_count - before.event_count == job.events.count() - events
    assert job.events.count() == events + (legal and (2 if (state, wanted) == ("running", "cancelled") else 1))


def test_an_end_that_is_no_end_raises():
    job = running()

    with pytest.raises(IllegalMove, match="running -> running is not a legal move"):
        lifecycle.end(job.id, 1, JobState.RUNNING)

    assert reread(job).event_count == 2


# --- invariants after a random walk


def test_after_a_random_walk_the_books_agree():
    rng = Random(11)
    for step in range(250):
        jobs = list(Job.objects.exclude(state__in=TERMINAL_STATES))
        job = rng.choice(jobs) if jobs else None
        match rng.randrange(6):
            case 0 | 1:
                queued(priority=rng.choice(list(Priority)))
            case 2 if job:
                make_due(job)
                lifecycle.claim(job.id, job.attempt - rng.randrange(2), gpu=step % 3, boot=f"boot-{step % 3}")
            case 3 if job:
                lifecycle.end(job.id, job.attempt - rng.randrange(2), rng.choice([JobState.SUCCEEDED, JobState.FAILED]))
            case 4 if job:
                lifecycle.requeue(job.id, job.attempt, rng.choice([Reason.CHILD_DIED, Reason.SHUTDOWN]))
            case 5 if job:
                lifecycle.cancel(job.id, actor="a test")

    for state in JobState:
        assert Tally.objects.total(state) == Job.objects.filter(state=state).count(), state
    assert Tally.objects.total("submitted") == Job.objects.count()
    assert set(Allocation.objects.values_list("job_id", flat=True)) == set(
        Job.objects.running().values_list("id", flat=True)
    )
    for job in Job.objects.all():
        numbers = list(JobEvent.objects.filter(job=job).order_by("n").values_list("n", flat=True))
        assert numbers == list(range(1, job.event_count + 1))
