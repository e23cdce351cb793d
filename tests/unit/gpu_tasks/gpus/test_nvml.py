from __future__ import annotations

import os
from dataclasses import replace

import pynvml
import pytest

from gpu_tasks.gpus import nvml
from gpu_tasks.gpus.nvml import RETRY_SECONDS, NvmlGpu, gpu_count
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuHealth, GpuIdentity, GpuLoad, GpuProcess, GpuSample
from tests.unit.fake_nvml import FakeNvml

WHOLE_SAMPLE = GpuSample(
    health=GpuHealth.HEALTHY,
    utilization_percent=97.0,
    memory_used_mib=1_024,
    memory_total_mib=81_559,
    temperature_c=64.0,
    power_w=612.345,
    sm_clock_mhz=1_755.0,
    processes=(),
    last_xid=0,
)
#: A GPU that answered once: what it said of Xid errors stands.
LOST_SAMPLE = replace(UNKNOWN_SAMPLE, last_xid=0)
UNKNOWN_IDENTITY = GpuIdentity(index=0, uuid=None, name=None, memory_total_mib=None, power_limit_w=None)
READINGS = (
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetClockInfo",
)
NO_DRIVER = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setattr(nvml, "pynvml", fake)
    return fake


def test_a_reading_has_percent_mib_celsius_and_watts(driver: FakeNvml) -> None:
    assert NvmlGpu(0).sample(None, 0.0) == WHOLE_SAMPLE


def test_a_reading_does_not_depend_on_what_our_worker_runs(driver: FakeNvml) -> None:
    assert NvmlGpu(0).sample(GpuLoad(compute_share=0.1, memory_mib=9), 0.0) == WHOLE_SAMPLE


def test_the_identity_is_the_gpus_own(driver: FakeNvml) -> None:
    assert NvmlGpu(1).identity() == GpuIdentity(
        index=1, uuid="GPU-1b2c", name="NVIDIA H100 80GB HBM3", memory_total_mib=81_559, power_limit_w=700.0
    )


def test_an_older_package_that_gives_bytes_is_understood(driver: FakeNvml) -> None:
    driver.uuid, driver.name = b"GPU-1b2c", b"Tesla T4"

    identity = NvmlGpu(0).identity()

    assert (identity.uuid, identity.name) == ("GPU-1b2c", "Tesla T4")


def test_nvml_is_opened_once_and_only_when_it_is_needed(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    assert driver.inits == 0

    gpu.identity()
    gpu.sample(None, 0.0)
    gpu.sample(None, 1.0)

    assert driver.inits == 1


@pytest.mark.parametrize("code", NO_DRIVER)
def test_a_missing_driver_is_unknown(driver: FakeNvml, code: int) -> None:
    driver.errors["nvmlInit"] = code

    assert NvmlGpu(0).sample(None, 0.0) == UNKNOWN_SAMPLE
    assert NvmlGpu(0).identity() == UNKNOWN_IDENTITY
    assert gpu_count() == 0


def test_an_index_beyond_the_last_gpu_is_unknown(driver: FakeNvml) -> None:
    assert NvmlGpu(2).sample(None, 0.0) == UNKNOWN_SAMPLE
    assert NvmlGpu(2).identity().uuid is None
    assert driver.open == 0


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED])
@pytest.mark.parametrize("function", READINGS)
def test_a_lost_gpu_is_unknown_as_a_whole_whichever_reading_notices(driver: FakeNvml, function: str, code: int) -> None:
    gpu = NvmlGpu(0)
    assert gpu.sample(None, 0.0) == WHOLE_SAMPLE

    driver.errors[function] = code

    assert gpu.sample(None, 1.0) == LOST_SAMPLE


def test_a_lost_gpu_is_looked_for_again_after_a_while_and_comes_back(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    driver.errors["nvmlDeviceGetTemperature"] = pynvml.NVML_ERROR_GPU_IS_LOST
    gpu.sample(None, 100.0)
    del driver.errors["nvmlDeviceGetTemperature"]

    assert gpu.sample(None, 100.0 + RETRY_SECONDS - 0.1) == LOST_SAMPLE
    assert driver.inits == 1
    assert gpu.sample(None, 100.0 + RETRY_SECONDS) == WHOLE_SAMPLE
    assert driver.open == 1


def test_a_lost_gpu_whose_driver_cannot_even_be_closed_is_unknown(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    gpu.sample(None, 0.0)
    driver.errors["nvmlDeviceGetTemperature"] = pynvml.NVML_ERROR_GPU_IS_LOST
    driver.errors["nvmlShutdown"] = pynvml.NVML_ERROR_UNINITIALIZED

    assert gpu.sample(None, 1.0) == LOST_SAMPLE


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("nvmlDeviceGetUtilizationRates", {"utilization_percent"}),
        ("nvmlDeviceGetTemperature", {"temperature_c"}),
        ("nvmlDeviceGetPowerUsage", {"power_w"}),
    ],
)
@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_UNKNOWN])
def test_a_value_that_the_gpu_does_not_support_is_unknown_and_the_others_stand(
    driver: FakeNvml, function: str, fields: set[str], code: int
) -> None:
    driver.errors[function] = code

    sample = NvmlGpu(0).sample(None, 0.0)

    assert sample.health is GpuHealth.HEALTHY
    assert {name for name in WHOLE_SAMPLE.__slots__ if getattr(sample, name) is None} == fields


def test_a_gpu_that_answers_nothing_is_unknown(driver: FakeNvml) -> None:
    driver.errors |= dict.fromkeys((*READINGS, "nvmlDeviceGetMemoryInfo"), pynvml.NVML_ERROR_UNKNOWN)

    assert NvmlGpu(0).sample(None, 0.0) == LOST_SAMPLE


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NOT_SUPPORTED])
def test_an_old_driver_tells_its_memory_in_the_old_way(driver: FakeNvml, code: int) -> None:
    driver.errors["nvmlDeviceGetMemoryInfo_v2"] = code

    sample = NvmlGpu(0).sample(None, 0.0)

    assert (sample.memory_used_mib, sample.memory_total_mib) == (1_624, 81_559)


def test_a_name_that_cannot_be_read_leaves_the_rest_of_the_identity(driver: FakeNvml) -> None:
    driver.errors["nvmlDeviceGetName"] = pynvml.NVML_ERROR_UNKNOWN
    driver.errors["nvmlDeviceGetEnforcedPowerLimit"] = pynvml.NVML_ERROR_NOT_SUPPORTED

    identity = NvmlGpu(0).identity()

    assert (identity.name, identity.power_limit_w, identity.uuid) == (None, None, "GPU-1b2c")


def test_gpus_are_counted_and_the_driver_is_closed_again(driver: FakeNvml) -> None:
    assert gpu_count() == 2
    assert driver.open == 0


def test_a_driver_that_cannot_count_has_no_gpu(driver: FakeNvml) -> None:
    driver.errors["nvmlDeviceGetCount"] = pynvml.NVML_ERROR_UNKNOWN

    assert gpu_count() == 0
    assert driver.open == 0


def test_the_processes_of_this_machine_are_named_with_their_memory(driver: FakeNvml) -> None:
    above_every_pid = 2**22 + 1
    driver.processes = {os.getpid(): 3 * 2**20, os.getppid(): None, above_every_pid: 2**20}

    assert NvmlGpu(0).sample(None, 0.0).processes == (
        GpuProcess(pid=os.getpid(), memory_mib=3),
        GpuProcess(pid=os.getppid(), memory_mib=None),
    )


def test_a_driver_that_names_no_processes_leaves_the_rest_known(driver: FakeNvml) -> None:
    driver.errors["nvmlDeviceGetComputeRunningProcesses"] = pynvml.NVML_ERROR_NOT_SUPPORTED

    sample = NvmlGpu(0).sample(None, 0.0)

    assert (sample.processes, sample.health) == (None, GpuHealth.HEALTHY)


def test_the_latest_xid_error_stands_until_the_next_one(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    gpu.sample(None, 0.0)

    driver.xids = [13, 31]

    assert [gpu.sample(None, at).last_xid for at in (1.0, 2.0)] == [31, 31]
    driver.xids = [48]
    assert gpu.sample(None, 3.0).last_xid == 48


def test_the_xid_error_that_took_the_gpu_off_the_bus_is_still_told(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    gpu.sample(None, 0.0)

    driver.xids = [79]
    driver.errors |= dict.fromkeys(READINGS, pynvml.NVML_ERROR_GPU_IS_LOST)

    assert gpu.sample(None, 1.0) == gpu.sample(None, 1.5) == replace(UNKNOWN_SAMPLE, last_xid=79)
    assert driver.open_event_sets == 0


def test_a_gpu_that_is_back_keeps_its_latest_xid_error_and_hears_of_new_ones(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    driver.xids, driver.errors = [79], dict.fromkeys(READINGS, pynvml.NVML_ERROR_GPU_IS_LOST)
    gpu.sample(None, 0.0)

    driver.errors = {}

    assert gpu.sample(None, RETRY_SECONDS).last_xid == 79
    driver.xids = [94]
    assert gpu.sample(None, RETRY_SECONDS + 1).last_xid == 94


@pytest.mark.parametrize("function", ["nvmlEventSetCreate", "nvmlDeviceRegisterEvents"])
def test_a_driver_that_tells_of_no_xid_errors_leaves_the_rest_known(driver: FakeNvml, function: str) -> None:
    driver.errors[function] = pynvml.NVML_ERROR_NOT_SUPPORTED

    assert NvmlGpu(0).sample(None, 0.0) == replace(WHOLE_SAMPLE, last_xid=None)
    assert driver.open_event_sets == 0
