from __future__ import annotations

from typing import Any

import pytest

from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuHealth, GpuState, shown_state


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


def test_nothing_of_the_unknown_sample_is_a_number() -> None:
    assert {getattr(UNKNOWN_SAMPLE, name) for name in UNKNOWN_SAMPLE.__slots__} == {GpuHealth.UNKNOWN, None, ""}


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
