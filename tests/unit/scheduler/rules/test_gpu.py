from __future__ import annotations

from typing import Any

import pytest

from scheduler.rules.gpu import (
    IDLE_MEMORY_MIB,
    TEMPERATURE_LIMIT_C,
    UNKNOWN_SAMPLE,
    GpuHealth,
    GpuProcess,
    GpuSample,
    GpuState,
    Place,
    fits,
    ineligible_because,
    occupied_because,
    shown_state,
    waits_because,
)
from tests.unit.builders import a_sample


def why_not(sample: GpuSample, *, drained: bool = False, quarantined: str = "") -> str | None:
    return ineligible_because(sample, drained=drained, quarantined=quarantined)


def shown(**changes: Any) -> GpuState:
    values = {
        "health": GpuHealth.HEALTHY,
        "drained": False,
        "quarantined": "",
        "hot": False,
        "busy": True,
        "alive": True,
    }
    return shown_state(**(values | changes))


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


def test_an_unknown_temperature_alone_does_not_stop_a_healthy_gpu() -> None:
    assert why_not(a_sample(temperature_c=None)) is None


def test_nothing_of_the_unknown_sample_is_a_number() -> None:
    assert {getattr(UNKNOWN_SAMPLE, name) for name in UNKNOWN_SAMPLE.__slots__} == {GpuHealth.UNKNOWN, None}


@pytest.mark.parametrize(
    ("total", "needed", "answer"), [(100, 100, True), (100, 101, False), (None, 0, True), (None, 1, False)]
)
def test_a_job_fits_where_its_memory_is(total: int | None, needed: int, answer: bool) -> None:
    assert fits(total, needed) is answer


def a_place(gpu: int, total: int | None, *, takes_jobs: bool = True) -> Place:
    return Place(gpu=gpu, memory_total_mib=total, takes_jobs=takes_jobs)


@pytest.mark.parametrize(
    ("places", "because"),
    [
        ([], ""),
        ([a_place(0, 40_960), a_place(1, 81_559)], ""),
        ([a_place(0, 81_559, takes_jobs=False), a_place(1, 81_559)], ""),
        ([a_place(0, 40_960), a_place(1, None)], "it needs 60000 MiB of GPU memory; the largest GPU has 40960"),
        (
            [a_place(0, 40_960), a_place(1, 81_559, takes_jobs=False), a_place(3, 81_559, takes_jobs=False)],
            "no GPU with 60000 MiB of memory takes jobs now (of that size: 1, 3)",
        ),
    ],
)
def test_a_job_that_no_gpu_can_take_now_knows_why(places: list[Place], because: str) -> None:
    assert waits_because(60_000, places) == because


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, GpuState.BUSY),
        ({"busy": False}, GpuState.IDLE),
        ({"hot": True}, GpuState.HOT),
        ({"hot": True, "drained": True}, GpuState.DRAINING),
        ({"drained": True, "health": GpuHealth.UNKNOWN}, GpuState.UNKNOWN),
        ({"quarantined": "Xid 79", "health": GpuHealth.UNKNOWN}, GpuState.FAULT),
        ({"health": GpuHealth.FAULT, "drained": True}, GpuState.FAULT),
        ({"health": GpuHealth.FAULT, "alive": False}, GpuState.OFFLINE),
    ],
)
def test_the_worst_news_about_a_gpu_is_shown(changes: dict[str, Any], state: GpuState) -> None:
    assert shown(**changes) is state


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


def test_memory_that_nobody_owns_up_to_is_a_left_over() -> None:
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
