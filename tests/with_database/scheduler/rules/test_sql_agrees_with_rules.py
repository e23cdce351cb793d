"""Where SQL holds a copy of a rule for speed, it decides as the rule does: on 10,000 random situations each.

Each situation's times are near a fixed moment, equality included, which takes the place of the database's clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import pytest
from django.db import connection, transaction

from scheduler.jobs import statements
from scheduler.models import Allocation, Control, Gpu, Job
from scheduler.rules.placement import ClaimedJob, ClaimRefusal, claim_refusal, is_due
from scheduler.rules.queues import tiers_of
from scheduler.rules.states import TERMINAL_STATES, JobState, Priority, Source
from scheduler.rules.waiting import AGEING_PRIORITIES, AGEING_SECONDS, ageing_order, has_aged, order_in_queue

#: Clusters, and jobs in each.
CLUSTERS: Final = 100
JOBS: Final = 100
SITUATIONS: Final = CLUSTERS * JOBS

NOW: Final = datetime.fromisoformat("2030-01-01T00:00:00.123456+00:00")

#: Sizes of GPUs and of what jobs need: alike, a little apart, and at each other's edges.
SIZES_MIB: Final = (0, 1, 16_384, 40_959, 40_960, 40_961, 81_559, 81_920)

#: Seconds from NOW.
NEAR: Final = (-3600, -1, -0.000001, 0, 0.000001, 1, 3600)

SEED: Final = int(os.environ.get("RULES_SEED") or Random().randrange(2**32))


@pytest.fixture
def rng() -> Random:
    print(f"RULES_SEED={SEED}")
    return Random(SEED)


class Undo(Exception):
    """Ends a transaction without a trace."""


def clusters(rng: Random) -> Iterator[list[Gpu]]:
    """Random GPUs with as many jobs, in a transaction that is undone; some hold a job, one is not registered."""
    Control.objects.get_or_create(id=1)
    for _ in range(CLUSTERS):
        try:
            with transaction.atomic():
                gpus = Gpu.objects.bulk_create(a_gpu(rng, index) for index in range(rng.choice((0, 1, 2, 3, 5))))
                yield gpus
                raise Undo
        except Undo:
            continue


def a_gpu(rng: Random, index: int) -> Gpu:
    return Gpu(
        index=index,
        backend="simulated",
        memory_total_mib=rng.choice((None, *SIZES_MIB, *SIZES_MIB[-3:])),
        drained=rng.random() < 0.2,
        quarantined="Xid 79" if rng.random() < 0.2 else "",
        boot="" if rng.random() < 0.1 else f"boot-{index}",
    )


def moment(rng: Random, *seconds: float) -> datetime:
    return NOW + timedelta(seconds=rng.choice(seconds))


def a_job(rng: Random, job_id: int, **fields: Any) -> Job:
    """Mostly one that waits."""
    state = rng.choices(list(JobState), [30 if state is JobState.QUEUED else 1 for state in JobState])[0]
    values = {
        "id": job_id,
        "name": f"job-{job_id}",
        "type": "sleep",
        "priority": rng.choice(list(Priority)),
        "source": Source.API,
        "state": state,
        "gpu_memory_mib": rng.choice(SIZES_MIB),
        "attempt": rng.choice((1, 1, 2, 3)),
        "cancel_requested": rng.random() < 0.1,
        "gpu": rng.randrange(6) if state is JobState.RUNNING or rng.random() < 0.8 else None,
        "submitted_at": NOW,
        "queued_at": NOW,
        "not_before": moment(rng, *NEAR[:4] * 4, *NEAR),
        "elsewhere_until": None if rng.random() < 0.2 else moment(rng, *NEAR, *NEAR[4:]),
        "finished_at": NOW if state in TERMINAL_STATES else None,
    }
    return Job(**values | fields)


def jobs(rng: Random, **fields: Callable[[], Any]) -> list[Job]:
    return Job.objects.bulk_create(
        a_job(rng, job_id, **{name: value() for name, value in fields.items()}) for job_id in range(1, JOBS + 1)
    )


@pytest.mark.django_db
def test_a_claim_is_granted_where_the_rule_grants_it(rng: Random):
    seen: dict[ClaimRefusal | None, int] = {}
    for gpus in clusters(rng):
        waiting = jobs(rng)
        busy = set(rng.sample(range(6), rng.randint(0, 2)))
        Allocation.objects.bulk_create(
            Allocation(gpu=gpu, job=waiting[-1 - nth], attempt=1) for nth, gpu in enumerate(busy)
        )
        places = Gpu.objects.places()
        for job in waiting:
            attempt = rng.choice((*[job.attempt] * 8, 1, 2))
            gpu = rng.choice((job.gpu or 0, job.gpu or 0, rng.randrange(6)))
            refusal = claim_refusal(as_claimed(job), attempt, gpu=gpu, is_busy=gpu in busy, places=places, now=NOW)
            seen[refusal] = seen.get(refusal, 0) + 1

            assert is_granted(job, attempt, gpu) == (refusal is None), story(job, attempt, gpu, busy, gpus, refusal)

    print(f"granted or refused: {seen}")
    assert sum(seen.values()) == SITUATIONS
    assert min(seen[answer] for answer in (None, *ClaimRefusal)) > SITUATIONS / 200


def as_claimed(job: Job) -> ClaimedJob:
    return ClaimedJob(
        state=JobState(job.state),
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        not_before=job.not_before,
        needed_mib=job.gpu_memory_mib,
        gpu=job.gpu,
        elsewhere_until=job.elsewhere_until,
    )


def is_granted(job: Job, attempt: int, gpu: int) -> bool:
    params = {"job": job.id, "attempt": attempt, "gpu": gpu, "boot": "boot", "now": adapted(NOW)}
    with connection.cursor() as cursor:
        cursor.execute(statements.CLAIM.replace("{now}", "%(now)s"), params)
        return cursor.fetchone() is not None


def adapted(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def story(job: Job, attempt: int, gpu: int, busy: set[int], gpus: list[Gpu], refusal: ClaimRefusal | None) -> str:
    rows = "\n".join(str({**gpu.__dict__, "_state": None}) for gpu in gpus)
    return f"attempt {attempt} on GPU {gpu} (busy: {busy}); the rule says {refusal}\n{as_claimed(job)}\n{rows}"


@pytest.mark.django_db
@pytest.mark.parametrize("few", [True, False], ids=["of_queue", "of_long_queue"])
def test_each_due_job_is_found_in_its_queue_in_order(rng: Random, few: bool):
    found = 0
    for gpus in clusters(rng):
        waiting = jobs(rng)
        tiers = tiers_of(gpu.memory_total_mib for gpu in gpus)
        due = [job for job in waiting if job.state is JobState.QUEUED and is_due(job.not_before, NOW)]
        homes = {job.id: tiers.queue_of(job.priority, job.gpu_memory_mib) for job in due}
        for queue in tiers.all_queues():
            rows = Job.objects.due(NOW)
            rows = rows.of_queue(queue) if few else rows.of_long_queue(queue)
            # The relay puts those that ran before first, and keeps the database's order within both.
            ids = [job.id for job in sorted(rows.in_line(), key=lambda job: job.attempt == 1)]

            wanted = [job for job in due if homes[job.id] == queue.name]
            wanted.sort(key=lambda job: order_in_queue(job_id=job.id, attempt=job.attempt))
            assert ids == [job.id for job in wanted], (queue, tiers)
            found += len(ids)
    assert found > SITUATIONS / 4


@pytest.mark.django_db
def test_the_jobs_that_have_aged_are_found_the_longest_waiting_first(rng: Random):
    edges = [n * AGEING_SECONDS + seconds for n in range(4) for seconds in (-1, -0.000001, 0, 0.000001, 1)]
    found = 0
    for _ in clusters(rng):
        waiting = jobs(rng, queued_at=lambda: NOW - timedelta(seconds=rng.choice(edges)))
        for priority in Priority:
            wanted = [
                job for job in waiting if job.priority is priority and has_aged(priority, waited(job), AGEING_SECONDS)
            ]
            wanted.sort(key=lambda job: ageing_order(job_id=job.id, queued_at=job.queued_at))

            rows = Job.objects.filter(priority=priority).aged(AGEING_SECONDS, NOW)
            ids = [job.id for job in rows] if priority in AGEING_PRIORITIES else []
            assert ids == [job.id for job in wanted]
            found += len(ids)
    assert found > SITUATIONS / 4


def waited(job: Job) -> float:
    return (NOW - job.queued_at).total_seconds()
