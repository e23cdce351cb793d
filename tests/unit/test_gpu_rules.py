from __future__ import annotations

from typing import Any

import pytest

from scheduler.gpu import (
    TEMPERATURE_LIMIT_C,
    UNKNOWN_SAMPLE,
    GpuHealth,
    GpuSample,
    GpuState,
    fits,
    ineligible_because,
    shown_state,
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
