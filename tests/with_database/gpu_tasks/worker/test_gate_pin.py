"""The pin is proved for each job, not once for each process: a job before it may have changed what CUDA uses."""

from __future__ import annotations

from typing import NoReturn
from uuid import UUID, uuid4

import pytest

from gpu_tasks.processes import cuda
from gpu_tasks.worker.gate import Gate
from gpu_tasks.worker.held import Held
from scheduler.models import ClusterEvent, Gpu

pytestmark = pytest.mark.usefixtures("gpus")


def no_gpu() -> NoReturn:
    raise AssertionError("the pin does not need NVML")


@pytest.fixture
def pinned() -> UUID:
    return uuid4()


@pytest.fixture
def gate(pinned: UUID) -> Gate:
    return Gate(gpu=0, uuid=f"GPU-{pinned}", has_cuda=True, held=Held(), open_gpu=no_gpu)


def test_a_process_that_left_its_gpu_takes_no_further_job(
    gate: Gate, pinned: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = uuid4()
    monkeypatch.setattr(cuda, "device_uuid_bytes", lambda: pinned.bytes)
    assert gate.mispinned_because() is None
    assert Gpu.objects.get(index=0).cuda_uuid == f"GPU-{pinned}"

    monkeypatch.setattr(cuda, "device_uuid_bytes", lambda: other.bytes)

    reason = gate.mispinned_because()
    assert reason is not None
    assert str(other) in reason
    row = Gpu.objects.get(index=0)
    assert (row.cuda_uuid, row.quarantined) == (f"GPU-{other}", reason)


def test_a_pin_that_is_proved_again_writes_nothing(
    gate: Gate, pinned: UUID, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries
) -> None:
    monkeypatch.setattr(cuda, "device_uuid_bytes", lambda: pinned.bytes)
    assert gate.mispinned_because() is None

    with django_assert_num_queries(0):
        assert gate.mispinned_because() is None
    assert not ClusterEvent.objects.filter(kind="quarantined").exists()
