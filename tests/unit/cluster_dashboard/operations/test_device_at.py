"""Which GPU of this machine a worker takes, where CUDA_VISIBLE_DEVICES names some of them."""

from __future__ import annotations

import pytest

from cluster_dashboard.operations.processes import device_at
from scheduler.rules.configuration import EnvironmentInvalid

UUID = "GPU-8d0e3c5a-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("place", "visible", "device"),
    [
        *((0, None, 0), (3, None, 3)),
        *((0, ["2", "3"], 2), (1, ["2", " 3"], 3), (2, ["2", "3"], None)),
        *((0, [UUID], UUID), (1, ["0", UUID], UUID)),
    ],
)
def test_the_device_is_what_the_variable_names_at_that_place(
    place: int, visible: list[str] | None, device: int | str | None
) -> None:
    assert device_at(place, visible) == device


@pytest.mark.parametrize("name", ["MIG-8d0e3c5a-0000-0000-0000-000000000001", "MIG-GPU-x/1/0", "-1", "all", ""])
def test_a_part_of_a_gpu_and_what_is_no_gpu_are_refused_by_name(name: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"CUDA_VISIBLE_DEVICES: .* expected: numbers or UUIDs"):
        device_at(0, [name])
