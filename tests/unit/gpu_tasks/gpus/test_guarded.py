"""A GPU whose driver hangs, or fails in ways that nobody expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

import pytest

from gpu_tasks.gpus import guarded
from gpu_tasks.gpus.guarded import GuardedGpu
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuBackend, GpuHealth, GpuIdentity, GpuLoad, GpuSample
from tests.unit.builders import a_sample

IDENTITY = GpuIdentity(index=3, uuid="GPU-1", name="H100", memory_total_mib=81_559, power_limit_w=700.0)
UNKNOWN_IDENTITY = GpuIdentity(index=3, uuid=None, name=None, memory_total_mib=None, power_limit_w=None)


class Backend:
    """Does `first` with each call."""

    def __init__(self, first: Callable[[], object] = lambda: None) -> None:
        self.first = first

    def identity(self) -> GpuIdentity:
        self.first()
        return IDENTITY

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        self.first()
        return a_sample()


@pytest.fixture
def released() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "SAMPLE_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(guarded, "IDENTITY_ANSWER_SECONDS", 0.05)


def test_a_driver_that_answers_is_passed_on() -> None:
    gpu = GuardedGpu(3, Backend)

    assert (gpu.identity(), gpu.sample(None, 0.0)) == (IDENTITY, a_sample())


def test_a_driver_that_hangs_makes_the_gpu_unknown_and_says_so(released: Event) -> None:
    backend = Backend()
    gpu = GuardedGpu(3, lambda: backend)
    assert gpu.sample(None, 0.0).health is GpuHealth.HEALTHY

    backend.first = lambda: released.wait(60)
    samples = [gpu.sample(None, float(second)) for second in range(3)]

    assert {sample.health for sample in samples} == {GpuHealth.UNKNOWN}
    assert {sample.note.rpartition(" for ")[0] for sample in samples} == {"its driver has not answered"}
    assert gpu.identity() == UNKNOWN_IDENTITY


def broken_module() -> GpuBackend:
    raise AttributeError("module 'pynvml' has no attribute 'NVML_ERROR_GPU_IS_LOST'")


@pytest.mark.parametrize(
    ("gpu", "note"),
    [
        (GuardedGpu(3, broken_module), "AttributeError: module 'pynvml'"),
        (GuardedGpu(3, lambda: Backend(b"\xff".decode)), "UnicodeDecodeError: "),
        (GuardedGpu(3, lambda: Backend(iter(()).__next__)), "StopIteration"),
    ],
    ids=["module that does not load", "text that is not UTF-8", "defect"],
)
def test_a_failure_of_any_kind_is_a_state_and_a_note(gpu: GuardedGpu, note: str) -> None:
    sample = gpu.sample(None, 0.0)

    assert sample.health is UNKNOWN_SAMPLE.health
    assert sample.note.startswith(f"it cannot be read: {note}")
    assert gpu.identity() == UNKNOWN_IDENTITY


def test_a_note_is_one_line() -> None:
    def fails() -> None:
        raise OSError("cannot open\nlibnvidia-ml.so.1:\n\t" + "no such file " * 20)

    note = GuardedGpu(3, lambda: Backend(fails)).sample(None, 0.0).note

    assert note.startswith("it cannot be read: OSError: cannot open libnvidia-ml.so.1: no such file")
    assert (len(note), note.isprintable()) == (100, True)


def test_a_module_that_loads_later_is_used_then() -> None:
    attempts: list[int] = []

    def opened() -> GpuBackend:
        attempts.append(1)
        return broken_module() if len(attempts) < 3 else Backend()

    gpu = GuardedGpu(3, opened)

    assert [gpu.sample(None, 0.0).health for _ in range(3)] == [GpuHealth.UNKNOWN] * 2 + [GpuHealth.HEALTHY]


def test_each_condition_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    backend = Backend(iter(()).__next__)
    gpu = GuardedGpu(3, lambda: backend)

    for _ in range(3):
        gpu.sample(None, 0.0)
    backend.first = lambda: None
    for _ in range(3):
        gpu.sample(None, 0.0)

    assert [record.message for record in caplog.records] == ["gpu_driver_failed", "gpu_driver_recovered"]
