from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuHealth, GpuProcess, GpuSample
from scheduler.rules.placement import (
    IDLE_MEMORY_MIB,
    TEMPERATURE_LIMIT_C,
    ClaimedJob,
    ClaimRefusal,
    Place,
    claim_refusal,
    fits,
    in_service,
    ineligible_because,
    occupied_because,
)
from scheduler.rules.states import JobState
from tests.unit.builders import a_sample

NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)


def why_not(sample: GpuSample, *, drained: bool = False, quarantined: str = "") -> str | None:
    return ineligible_because(sample, drained=drained, quarantined=quarantined)


def test_a_healthy_gpu_may_take_a_job() -> None:
    assert why_not(a_sample()) is None


def test_a_drained_gpu_takes_no_job() -> None:
    assert why_not(a_sample(), drained=True) == "drained by an operator"


def test_a_quarantined_gpu_takes_no_job_and_says_why() -> None:
    assert why_not(a_sample(), quarantined="Xid 79") == "quarantined: Xid 79"


@pytest.mark.parametrize("health", [GpuHealth.UNKNOWN, GpuHealth.FAULT])
def test_a_gpu_that_is_not_healthy_takes_no_job(health: GpuHealth) -> None:
    assert why_not(a_sample(health=health)) == f"health is {health}"


def test_an_unknown_gpu_takes_no_job() -> None:
    assert why_not(UNKNOWN_SAMPLE) == "health is unknown"


def test_a_gpu_above_the_temperature_limit_takes_no_job() -> None:
    assert why_not(a_sample(temperature_c=TEMPERATURE_LIMIT_C)) is None
    assert why_not(a_sample(temperature_c=TEMPERATURE_LIMIT_C + 1)) == "86 °C is above the limit of 85 °C"


def test_the_limit_is_the_cards_own_where_it_is_known() -> None:
    assert why_not(a_sample(temperature_c=89.0, temperature_limit_c=89.0)) is None
    assert why_not(a_sample(temperature_c=84.0, temperature_limit_c=83.0)) == "84 °C is above the limit of 83 °C"


def test_an_unknown_temperature_alone_does_not_stop_a_healthy_gpu() -> None:
    assert why_not(a_sample(temperature_c=None)) is None


@pytest.mark.parametrize(
    ("total", "needed", "answer"), [(100, 100, True), (100, 101, False), (None, 0, True), (None, 1, False)]
)
def test_a_job_fits_where_its_memory_is(total: int | None, needed: int, answer: bool) -> None:
    assert fits(total, needed) is answer


def occupied(*processes: tuple[int, int | None], used: int | None, idle: bool = True) -> str | None:
    """Of a worker whose process is 7."""
    named = tuple(GpuProcess(pid=pid, memory_mib=memory) for pid, memory in processes)
    return occupied_because(a_sample(memory_used_mib=used, processes=named), {7}, idle=idle)


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "busy"])
def test_a_gpu_with_a_process_of_somebody_else_takes_no_job(idle: bool) -> None:
    note = occupied((7, 500), (4711, 500), used=1_000, idle=idle)

    assert note is not None
    assert "4711" in note


def test_a_gpu_with_processes_of_its_own_worker_takes_jobs() -> None:
    assert occupied((7, 40_000), used=40_000 + IDLE_MEMORY_MIB) is None


def test_memory_without_a_known_owner_is_a_left_over() -> None:
    note = occupied((7, 500), used=500 + IDLE_MEMORY_MIB + 1)

    assert note is not None
    assert f"{IDLE_MEMORY_MIB + 1} MiB" in note


def test_memory_of_a_job_that_runs_is_none() -> None:
    assert occupied(used=40_000, idle=False) is None


@pytest.mark.parametrize("process", [(7, None), (7, 100)])
def test_what_the_driver_cannot_tell_is_no_left_over(process: tuple[int, int | None]) -> None:
    assert occupied(process, used=40_000 if process[1] is None else None) is None


def test_a_backend_that_names_no_processes_is_judged_by_its_memory() -> None:
    sample = a_sample(memory_used_mib=2_000, processes=None)

    assert occupied_because(sample, (), idle=True) is not None
    assert occupied_because(a_sample(memory_used_mib=0), (), idle=True) is None


# --- a claim

DUE_JOB: Final = ClaimedJob(
    state=JobState.QUEUED,
    attempt=2,
    cancel_requested=False,
    not_before=NOW,
    needed_mib=60_000,
    gpu=None,
    elsewhere_until=None,
)

#: It failed on GPU 0 just now.
FAILED_HERE: Final = replace(DUE_JOB, gpu=0, elsewhere_until=NOW + timedelta(seconds=1))

LARGE_GPUS: Final = [Place(gpu=gpu, memory_total_mib=81_559, takes_jobs=True) for gpu in range(2)]


def refused(
    job: ClaimedJob = DUE_JOB,
    attempt: int = 2,
    gpu: int = 0,
    *,
    is_busy: bool = False,
    places: list[Place] = LARGE_GPUS,
) -> ClaimRefusal | None:
    return claim_refusal(job, attempt, gpu=gpu, is_busy=is_busy, places=places, now=NOW)


def test_a_due_job_may_start_on_a_free_gpu_where_it_fits() -> None:
    assert refused() is None


@pytest.mark.parametrize(
    "job",
    [
        replace(DUE_JOB, attempt=1),
        replace(DUE_JOB, attempt=3),
        replace(DUE_JOB, cancel_requested=True),
        replace(DUE_JOB, not_before=NOW + timedelta(microseconds=1)),
        *(replace(DUE_JOB, state=state) for state in JobState if state is not JobState.QUEUED),
    ],
)
def test_a_hint_that_the_row_does_not_confirm_is_stale(job: ClaimedJob) -> None:
    assert refused(job) is ClaimRefusal.STALE


def test_a_busy_gpu_starts_nothing_else() -> None:
    assert refused(is_busy=True) is ClaimRefusal.GPU_BUSY


@pytest.mark.parametrize("total", [40_960, None])
def test_a_job_that_does_not_fit_is_too_big(total: int | None) -> None:
    assert refused(places=[replace(LARGE_GPUS[0], memory_total_mib=total), LARGE_GPUS[1]]) is ClaimRefusal.TOO_BIG


def test_a_gpu_that_is_not_registered_starts_only_jobs_that_need_no_memory() -> None:
    assert refused(gpu=7) is ClaimRefusal.TOO_BIG
    assert refused(replace(DUE_JOB, needed_mib=0), gpu=7) is None


def test_a_job_that_failed_on_a_gpu_is_left_to_another_one_for_a_while() -> None:
    assert refused(FAILED_HERE) is ClaimRefusal.ELSEWHERE
    assert refused(FAILED_HERE, gpu=1) is None
    assert refused(replace(FAILED_HERE, elsewhere_until=NOW)) is None


@pytest.mark.parametrize(
    "other",
    [
        None,
        replace(LARGE_GPUS[1], takes_jobs=False),
        replace(LARGE_GPUS[1], memory_total_mib=40_960),
        replace(LARGE_GPUS[1], memory_total_mib=None),
    ],
)
def test_without_another_gpu_that_could_take_it_a_job_may_start_where_it_failed(other: Place | None) -> None:
    assert refused(FAILED_HERE, places=[LARGE_GPUS[0], *([other] if other else [])]) is None


@pytest.mark.parametrize(
    ("drained", "quarantined", "boot", "answer"),
    [(False, "", "boot", True), (True, "", "boot", False), (False, "Xid 79", "boot", False), (False, "", "", False)],
)
def test_a_gpu_in_service_has_a_worker_and_is_not_stopped(
    drained: bool, quarantined: str, boot: str, answer: bool
) -> None:
    assert in_service(drained=drained, quarantined=quarantined, boot=boot) is answer
