from __future__ import annotations

import subprocess
import sys
from threading import Event

import pynvml
import pytest

from gpu_tasks import gpus
from gpu_tasks.gpus import nvml, open_gpu, resolve_backend
from gpu_tasks.gpus.guarded import GuardedGpu
from gpu_tasks.gpus.simulated import SimulatedGpu
from scheduler.rules.gpu import GpuHealth
from tests.project import ROOT
from tests.unit.fake_nvml import FakeNvml


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setattr(nvml, "pynvml", fake)
    return fake


def test_simulated_is_simulated_even_where_a_gpu_is(driver: FakeNvml) -> None:
    assert isinstance(open_gpu("simulated", 0, 5), SimulatedGpu)
    assert driver.inits == 0


def test_auto_is_nvml_where_the_driver_has_a_gpu(driver: FakeNvml) -> None:
    assert isinstance(open_gpu("auto", 0, 5), GuardedGpu)


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_auto_is_simulated_where_no_driver_is(driver: FakeNvml, code: int) -> None:
    driver.errors["nvmlInit"] = code

    assert isinstance(open_gpu("auto", 0, 5), SimulatedGpu)


def test_auto_is_simulated_where_the_driver_has_no_gpu(driver: FakeNvml) -> None:
    driver.count = 0

    assert resolve_backend("auto") == "simulated"


def test_auto_with_a_driver_that_hangs_neither_waits_for_ever_nor_simulates(
    driver: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = Event()
    monkeypatch.setattr(gpus, "IDENTITY_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(driver, "nvmlInit", lambda: released.wait(60), raising=False)

    assert resolve_backend("auto") == "nvml"
    released.set()


def test_nvml_that_fails_is_unknown_and_never_simulated(driver: FakeNvml) -> None:
    driver.errors["nvmlInit"] = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND

    gpu = open_gpu("nvml", 0, 5)

    assert isinstance(gpu, GuardedGpu)
    assert gpu.sample(None, 0.0).health is GpuHealth.UNKNOWN
    assert gpu.identity().name is None


def test_a_worker_whose_container_sees_one_gpu_opens_that_one(driver: FakeNvml) -> None:
    driver.count = 1

    assert open_gpu("nvml", 3, 5, device=0).identity().uuid is not None


def test_another_backend_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="simulated, nvml or auto"):
        open_gpu("rocm", 0, 5)


def test_a_simulated_worker_does_not_load_pynvml() -> None:
    script = (
        "import sys; from gpu_tasks.gpus import open_gpu; open_gpu('simulated', 0, 5); print('pynvml' in sys.modules)"
    )

    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == "False"
