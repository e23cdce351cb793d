"""The relay, on both databases and a real Valkey."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from scheduler.broker import hints, stale_hints
from scheduler.broker.hints import WINDOW, queue_key
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Claimed
from scheduler.loops.relay import LOST_AFTER_SECONDS, Relay
from scheduler.models import Gpu, Job
from scheduler.rules.states import JobState, Priority
from tests.build import insert, let_wait, queued, reread, running, submit
from tests.services import wait_until
from tests.with_database.taking import run, take

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def relay(redis):
    return Relay(redis)


def lying(redis, priority=Priority.NORMAL):
    return hints.waiting(redis)[priority]


def test_a_new_job_is_left_to_its_sender_for_a_moment(relay, redis):
    job = queued()
    assert relay.tick(0.0) == 0

    let_wait(3)

    assert relay.tick(0.5) == 1
    assert lying(redis) == {(job.id, 1)}


def test_a_hint_that_lies_in_its_queue_is_not_sent_again(relay, redis):
    queued()
    let_wait(3)
    relay.tick(0.0)

    assert relay.tick(LOST_AFTER_SECONDS + 1) == 0
    assert redis.llen(queue_key("normal")) == 1


def test_a_message_with_a_number_without_end_stops_nothing(relay, redis):
    job = queued()
    let_wait(3)
    redis.rpush(queue_key("normal"), b'{"headers": {"id": "' + b"9" * 5000 + b'-1"}}')

    assert relay.tick(0.0) == 1
    assert lying(redis) == {(job.id, 1)}


def test_a_lost_hint_is_sent_again_after_five_seconds(relay, redis):
    job = queued()
    let_wait(3)
    relay.tick(0.0)
    redis.flushall()

    assert relay.tick(LOST_AFTER_SECONDS - 0.5) == 0
    assert relay.tick(LOST_AFTER_SECONDS + 0.1) == 1
    assert lying(redis) == {(job.id, 1)}


def test_a_lost_hint_is_found_under_a_backlog_that_never_ends(relay, redis):
    lost = queued()
    submit(WINDOW + 200)
    let_wait(3)
    relay.tick(0.0)
    assert (lost.id, 1) in lying(redis)
    redis.lrem(queue_key("normal"), 0, redis.lindex(queue_key("normal"), -1))
    assert (lost.id, 1) not in lying(redis)

    relay.tick(LOST_AFTER_SECONDS + 0.1)

    assert (lost.id, 1) in lying(redis)


def test_the_window_bounds_what_redis_holds(relay, redis):
    submit(WINDOW + 300)
    let_wait(3)

    for tick in range(5):
        relay.tick(float(tick * 10))

    assert redis.llen(queue_key("normal")) == WINDOW


def test_the_window_holds_the_oldest_in_order(relay, redis):
    jobs = submit(WINDOW + 5)
    let_wait(3)

    relay.tick(0.0)

    taken = [redis.rpop(queue_key("normal")) for _ in range(WINDOW)]
    ids = [int(hints._TASK_ID.search(item)[1]) for item in taken]
    assert ids == [job.id for job in jobs[:WINDOW]]


def test_each_priority_has_its_queue(relay, redis):
    jobs = {priority: queued(priority=priority) for priority in Priority}
    let_wait(3)

    relay.tick(0.0)

    assert {priority: lying(redis, priority) for priority in Priority} == {
        priority: {(job.id, 1)} for priority, job in jobs.items()
    }


def test_a_requeued_job_without_a_back_off_is_hinted_at_once(relay, redis):
    job = running()
    lifecycle.requeue(job.id, 1, lifecycle.Reason.SHUTDOWN)

    assert relay.tick(0.0) == 1
    assert lying(redis) == {(job.id, 2)}


def test_a_requeued_job_is_hinted_when_its_back_off_has_passed(relay, redis):
    job = running()
    lifecycle.requeue(job.id, 1, lifecycle.Reason.WORKER_DIED)
    assert relay.tick(0.0) == 0

    let_wait(1.1)

    assert relay.tick(0.5) == 1
    assert lying(redis) == {(job.id, 2)}


def test_requeued_jobs_are_taken_next_in_their_order(relay, redis):
    jobs = [running(gpu=gpu) for gpu in range(3)]
    submit(50)
    let_wait(3)
    relay.tick(0.0)
    for job in jobs:
        lifecycle.requeue(job.id, 1, lifecycle.Reason.SHUTDOWN)

    relay.tick(0.5)

    taken = [int(hints._TASK_ID.search(redis.rpop(queue_key("normal")))[1]) for _ in range(3)]
    assert taken == [job.id for job in jobs]


def test_a_requeued_job_comes_in_though_the_window_is_full(relay, redis):
    job = running()
    submit(WINDOW + 10)
    let_wait(3)
    relay.tick(0.0)
    assert redis.llen(queue_key("normal")) == WINDOW
    lifecycle.requeue(job.id, 1, lifecycle.Reason.SHUTDOWN)

    relay.tick(0.5)

    assert (job.id, 2) in lying(redis)


def test_a_job_that_ended_is_not_hinted(relay):
    job = running()
    lifecycle.end(job.id, 1, JobState.SUCCEEDED)

    assert relay.tick(0.0) == 0


# --- stale hints


def test_hints_of_cancelled_jobs_leave_their_places_to_jobs_that_wait(relay, redis):
    cancelled, waiting = submit(WINDOW), submit(5)
    let_wait(3)
    relay.tick(0.0)
    for job in cancelled:
        lifecycle.cancel(job.id, actor="a test")

    relay.tick(0.5)

    assert lying(redis) == {(job.id, 1) for job in waiting}


@pytest.mark.parametrize("priority", Priority)
def test_stale_hints_are_removed_though_no_job_of_their_queue_waits(relay, redis, priority):
    jobs = submit(20, priority=priority)
    let_wait(3)
    relay.tick(0.0)
    for job in jobs:
        lifecycle.cancel(job.id, actor="a test")

    relay.tick(0.5)

    assert hints.lengths(redis) == dict.fromkeys(Priority, 0)


def test_a_hint_is_stale_when_its_job_runs_was_requeued_ended_or_is_unknown(relay, redis):
    runs, requeued, ended, waits = running(gpu=0), running(gpu=1), running(gpu=2), queued()
    lifecycle.requeue(requeued.id, 1, lifecycle.Reason.WORKER_DIED)
    lifecycle.end(ended.id, 1, JobState.SUCCEEDED)
    hints.send([a_hint(job.id) for job in (runs, requeued, ended, waits)], redis)
    hints.send([a_hint(10**12)], redis)

    relay.tick(0.0)

    assert lying(redis) == {(waits.id, 1)}


def test_a_hint_of_a_job_whose_back_off_has_not_passed_keeps_its_place(relay, redis):
    job = running()
    lifecycle.requeue(job.id, 1, lifecycle.Reason.WORKER_DIED)
    hints.send([hints.Hint(job_id=job.id, attempt=2, type=job.type, queue="normal")], redis)

    relay.tick(0.0)

    assert lying(redis) == {(job.id, 2)}


def test_every_copy_of_a_stale_hint_is_removed_and_the_order_of_the_others_stays(relay, redis):
    first, stale, last = submit(3)
    hints.send([a_hint(job.id) for job in (first, stale, stale, last, stale)], redis)
    lifecycle.cancel(stale.id, actor="a test")

    relay.tick(0.0)

    assert in_order(redis, "normal") == [first.id, last.id]


def test_a_hint_that_was_removed_by_mistake_is_sent_again(relay, redis):
    """Such as after the database was restored from a backup."""
    job = queued()
    let_wait(3)
    relay.tick(0.0)
    Job.objects.filter(id=job.id).update(attempt=9)
    relay.tick(1.0)
    assert (job.id, 1) not in lying(redis)

    Job.objects.filter(id=job.id).update(attempt=1)
    relay.tick(LOST_AFTER_SECONDS + 0.1)

    assert (job.id, 1) in lying(redis)


def test_a_message_that_is_no_hint_is_left_to_the_guard(relay, redis):
    redis.lpush(queue_key("normal"), b"not a hint")

    relay.tick(0.0)

    assert redis.lrange(queue_key("normal"), 0, -1) == [b"not a hint"]


@pytest.mark.parametrize(
    "headers", [{"task": "gpu_tasks.sleep", "id": "1-1 "}, {"task": "os.system", "id": "1-1"}, {"id": "1-1"}]
)
def test_a_malformed_message_that_names_an_attempt_is_left_to_the_guard(relay, redis, headers):
    item = json.dumps({"headers": headers, "other": {"id": "1-1"}}).encode()
    redis.lpush(queue_key("normal"), item)

    relay.tick(0.0)

    assert redis.lrange(queue_key("normal"), 0, -1) == [item]


@pytest.mark.parametrize("flood", [stale_hints.EXAMINED + 10])
def test_one_tick_examines_a_limited_number_of_hints_the_next_ones_first(relay, redis, flood):
    hints.send([a_hint(10**12 + number) for number in range(flood)], redis)

    relay.tick(0.0)
    assert in_order(redis, "normal") == [10**12 + number for number in range(stale_hints.EXAMINED, flood)]

    relay.tick(0.5)
    assert redis.llen(queue_key("normal")) == 0


def start_and_end(count: int, *, gpu: int = 0) -> None:
    for _ in range(count):
        job = running(gpu=gpu)
        lifecycle.end(job.id, 1, JobState.SUCCEEDED)


def test_an_aged_job_gets_a_hint_in_the_higher_queue_for_a_tenth_of_the_starts(relay, redis):
    relay.tick(0.0)
    submit(5, priority="low")
    let_wait(61)
    start_and_end(20)

    relay.tick(1.0)

    assert len(lying(redis, Priority.LOW)) == 5
    assert len(lying(redis, Priority.NORMAL)) == 2


def rounds(relay, redis, n: int, *, first: float) -> list[str]:
    """n times: a job starts and ends, and the relay ticks. The priorities of the jobs, in the order of their starts."""
    found = []
    for now in range(n):
        hint = take(redis)
        assert hint is not None
        assert isinstance(run(hint), Claimed)
        found.append(Job.objects.get(id=hint[0]).priority)
        relay.tick(first + now)
    return found


def test_aged_jobs_start_ahead_of_a_full_window_one_in_ten_from_the_first_on(relay, redis):
    submit(20, priority="low")
    let_wait(121)
    submit(WINDOW + 150, priority="high")
    let_wait(1)
    for now in range(30):  # what these starts earn is not saved up
        start_and_end(2)
        Job.objects.filter(priority="low").update(queued_at=Now())
        relay.tick(now / 2)
    let_wait(121)

    starts = rounds(relay, redis, 100, first=15.0)

    low = [i for i, priority in enumerate(starts) if priority == "low"]
    assert len(low) == 10
    assert low[0] <= 1
    assert {later - earlier for earlier, later in pairwise(low[1:])} == {10}


def test_an_aged_hint_that_was_lost_is_sent_again_without_another_share(relay, redis):
    relay.tick(0.0)
    submit(2, priority="low")
    let_wait(121)
    start_and_end(10)
    relay.tick(1.0)
    [risen] = lying(redis, Priority.HIGH)
    redis.delete(queue_key("high"))

    relay.tick(2.0)
    assert lying(redis, Priority.HIGH) == set()

    relay.tick(7.0)
    assert lying(redis, Priority.HIGH) == {risen}


def test_a_job_that_has_risen_and_is_cancelled_spends_no_share(relay, redis):
    relay.tick(0.0)
    first, second = submit(2, priority="low")
    let_wait(121)
    start_and_end(10)
    relay.tick(1.0)
    assert lying(redis, Priority.HIGH) == {(first.id, 1)}

    lifecycle.cancel(first.id, actor="a test")
    relay.tick(2.0)

    assert lying(redis, Priority.HIGH) == {(second.id, 1)}


def test_a_new_relay_counts_the_aged_hints_that_another_one_sent(relay, redis):
    relay.tick(0.0)
    submit(3, priority="low")
    let_wait(121)
    start_and_end(10)
    relay.tick(1.0)
    [risen] = lying(redis, Priority.HIGH)

    successor = Relay(redis)
    successor.tick(2.0)
    start_and_end(10)
    successor.tick(3.0)

    assert lying(redis, Priority.HIGH) == {risen}


def test_the_longest_wait_rises_first_whatever_its_priority(relay, redis):
    relay.tick(0.0)
    [low] = submit(priority="low")
    let_wait(60)
    submit(3, priority="normal")
    let_wait(61)
    start_and_end(10)

    relay.tick(1.0)

    assert lying(redis, Priority.HIGH) == {(low.id, 1)}


def test_period_and_share_are_settings(relay, redis, settings):
    settings.AGEING_SECONDS, settings.AGEING_SHARE = 5, 0.5
    relay.tick(0.0)
    submit(5, priority="normal")
    let_wait(6)
    start_and_end(6)

    relay.tick(1.0)

    assert len(lying(redis, Priority.HIGH)) == 3


def test_without_starts_no_job_ages(relay, redis):
    submit(5, priority="low")
    let_wait(200)

    relay.tick(0.0)

    assert lying(redis, Priority.HIGH) == lying(redis, Priority.NORMAL) == set()


def test_the_sender_after_commit_keeps_to_the_window(redis):
    jobs = insert([hint_request() for _ in range(WINDOW + 50)])

    hints._sender()._send([hints.Hint(job_id=j.id, attempt=1, type=j.type, queue=j.priority) for j in jobs], redis)

    assert redis.llen(queue_key("normal")) == WINDOW


def test_the_sender_sees_room_when_workers_have_taken_hints(redis):
    sender = hints._Sender()
    sender._send([a_hint(number) for number in range(WINDOW)], redis)
    redis.ltrim(queue_key("normal"), 0, 0)

    sender._send([a_hint(WINDOW)], redis)

    assert redis.llen(queue_key("normal")) == 2


def test_two_senders_together_keep_to_the_window_but_for_one_batch(redis):
    one, other = hints._Sender(), hints._Sender()
    one._send([a_hint(1)], redis)
    other._send([a_hint(number) for number in range(WINDOW)], redis)

    for number in range(5):
        one._send([a_hint(number)], redis)

    assert redis.llen(queue_key("normal")) == WINDOW + 1


def a_hint(job_id):
    return hints.Hint(job_id=job_id, attempt=1, type="sleep", queue="normal")


def hint_request(**params):
    from scheduler.jobs.admission import job_request

    return job_request(type="sleep", params={"seconds": 0, **params}, source=lifecycle.Source.API)


def test_a_hint_names_its_type_and_fits_the_row(redis):
    job = queued(type="compute", params={}, priority="critical")

    hints.send([hints.Hint(job_id=job.id, attempt=1, type=job.type, queue=Priority.CRITICAL)])

    message = redis.lindex(queue_key("critical"), 0)
    assert b'"gpu_tasks.compute"' in message
    assert f'"{job.id}-1"'.encode() in message
    assert reread(job).state == "queued"


# --- GPUs that differ in memory


@pytest.fixture
def unlike_gpus(gpus):
    """Two of 80 GiB, one of 40."""
    Gpu.objects.filter(index=2).update(memory_total_mib=40_960)


LARGE_GPU, SMALL_GPU = 0, 2


def big(count=1, **fields):
    return submit(count, params={"seconds": 0, "memory_mib": 60_000}, **fields)


def lying_in(redis, *queues):
    return hints.waiting(redis, queues)


@pytest.mark.usefixtures("unlike_gpus")
def test_a_job_that_needs_a_large_gpu_waits_in_its_tier(relay, redis):
    [large], [small] = big(priority="high"), submit(priority="high")
    let_wait(3)

    relay.tick(0.0)

    assert lying_in(redis, "high.80g", "high") == {"high.80g": {(large.id, 1)}, "high": {(small.id, 1)}}
    assert hints.lengths(redis)[Priority.HIGH] == 2


@pytest.mark.usefixtures("unlike_gpus")
def test_the_sender_after_commit_knows_the_tiers(redis):
    jobs = insert([hint_request(memory_mib=60_000), hint_request()])

    hints.send_soon(jobs, redis)

    wait_until(lambda: redis.llen(queue_key("normal.80g")) == redis.llen(queue_key("normal")) == 1, 5)


@pytest.mark.usefixtures("unlike_gpus")
def test_the_window_of_a_priority_is_shared_by_its_tiers(relay, redis):
    big(WINDOW), submit(WINDOW)
    let_wait(3)

    relay.tick(0.0)

    assert redis.llen(queue_key("normal.80g")) == redis.llen(queue_key("normal")) == WINDOW // 2


@pytest.mark.usefixtures("unlike_gpus")
def test_a_backlog_of_one_tier_keeps_no_other_waiting(relay, redis):
    big(WINDOW + 50)
    [small] = submit()
    let_wait(3)

    relay.tick(0.0)

    assert lying(redis) == {(small.id, 1)}


@pytest.mark.usefixtures("unlike_gpus")
@pytest.mark.parametrize("few", [0, 3, 100])
def test_however_many_wait_in_a_tier_the_window_holds_its_oldest_in_order(relay, redis, monkeypatch, few):
    monkeypatch.setattr("scheduler.loops.relay.FEW", few)
    jobs = [job for _ in range(5) for job in (*big(), *submit(3))]
    let_wait(3)

    relay.tick(0.0)

    large, small = jobs[::4], [job for job in jobs if job not in jobs[::4]]
    assert in_order(redis, "normal.80g") == [job.id for job in large]
    assert in_order(redis, "normal") == [job.id for job in small]


def in_order(redis, queue):
    """The jobs of its hints, the next one first."""
    return [int(hints._TASK_ID.search(item)[1]) for item in redis.lrange(queue_key(queue), 0, -1)[::-1]]


@pytest.mark.usefixtures("unlike_gpus")
@pytest.mark.parametrize("few", [0, 100])
def test_no_tick_goes_through_the_waiting_jobs_of_other_priorities(relay, monkeypatch, few):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL decides by its statistics, which a small table does not give")
    monkeypatch.setattr("scheduler.loops.relay.FEW", few)
    big(), submit(3)
    let_wait(70)
    relay.tick(0.0)
    start_and_end(20)

    with CaptureQueriesContext(connection) as asked:
        relay.tick(1.0)

    used = [plan(query["sql"]) for query in asked.captured_queries if "'queued'" in query["sql"]]
    assert len(used) > len(Priority)
    assert [each for each in used if "job_by_state" in each or "SCAN scheduler_job" in each] == []
    assert few == 0 or any("job_by_size" in each for each in used)


def plan(query):
    with connection.cursor() as cursor:
        return " ".join(row[-1] for row in cursor.execute(f"EXPLAIN QUERY PLAN {query.replace('%', '%%')}", ()))


@pytest.mark.usefixtures("unlike_gpus")
def test_jobs_move_to_the_queue_of_a_tier_that_is_new(relay, redis):
    [job] = submit(params={"seconds": 0, "memory_mib": 30_000})
    let_wait(3)
    relay.tick(0.0)
    assert lying(redis) == {(job.id, 1)}

    Gpu.objects.create(index=3, backend="simulated", memory_total_mib=24_576)
    relay.tick(0.5)

    assert lying_in(redis, "normal.40g")["normal.40g"] == {(job.id, 1)}


@pytest.mark.usefixtures("unlike_gpus")
def test_nothing_is_left_in_the_queues_of_a_tier_that_is_gone(relay, redis):
    [job] = big()
    let_wait(3)
    relay.tick(0.0)

    Gpu.objects.update(memory_total_mib=81_559)
    Relay(redis).tick(0.5)

    assert lying_in(redis, "normal.80g", "normal") == {"normal.80g": set(), "normal": {(job.id, 1)}}
    assert redis.keys(f"{hints.tiers_key()}*") == []


@pytest.mark.usefixtures("unlike_gpus")
def test_a_job_that_fits_no_gpu_waits_until_one_comes(relay, redis):
    [job] = big()
    let_wait(3)
    Gpu.objects.update(memory_total_mib=40_960)
    assert relay.tick(0.0) == 0

    Gpu.objects.create(index=3, backend="simulated", memory_total_mib=98_304)

    assert relay.tick(0.5) == 1
    assert lying_in(redis, "normal.96g") == {"normal.96g": {(job.id, 1)}}


@pytest.mark.usefixtures("unlike_gpus")
def test_an_aged_job_rises_within_its_tier_and_does_not_hold_up_another_tier(relay, redis):
    relay.tick(0.0)
    large, [small] = big(3, priority="low"), submit(priority="low")
    let_wait(61)
    Job.objects.filter(id__in=[job.id for job in large]).update(queued_at=F("queued_at") - timedelta(seconds=5))
    start_and_end(20, gpu=LARGE_GPU)
    relay.tick(1.0)
    first = {(job.id, 1) for job in large[:2]}
    assert lying_in(redis, "normal.80g", "normal") == {"normal.80g": first, "normal": set()}

    start_and_end(10, gpu=SMALL_GPU)
    relay.tick(2.0)

    assert lying_in(redis, "normal.80g", "normal") == {"normal.80g": first, "normal": {(small.id, 1)}}


@pytest.mark.usefixtures("unlike_gpus")
def test_an_aged_job_rises_on_the_starts_of_larger_gpus_where_its_own_start_nothing(relay, redis):
    relay.tick(0.0)
    [small] = submit(priority="low")
    let_wait(61)

    start_and_end(10, gpu=LARGE_GPU)
    relay.tick(1.0)

    assert lying_in(redis, "normal") == {"normal": {(small.id, 1)}}
