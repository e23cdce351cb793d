from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from gpu_tasks.gpus import nvml
from gpu_tasks.gpus.nvml import RETRY_SECONDS, NvmlGpu, gpu_count
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuFault, GpuHealth, GpuIdentity, GpuLoad, GpuProcess, GpuSample
from tests.unit.fake_nvml import FakeNvml

WHOLE_SAMPLE = GpuSample(
    health=GpuHealth.HEALTHY,
    utilization_percent=97.0,
    memory_used_mib=1_024,
    memory_total_mib=81_559,
    temperature_c=64.0,
    power_w=612.345,
    temperature_limit_c=87.0,
    sm_clock_mhz=1_755.0,
    processes=(),
    last_xid=0,
)
#: A GPU that answered once: what it said of Xid errors stands.
UNREAD_SAMPLE = replace(UNKNOWN_SAMPLE, last_xid=0)
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

    assert NvmlGpu(0).sample(None, 0.0) == replace(UNKNOWN_SAMPLE, note=f"NVML: {pynvml.NVMLError(code)}")
    assert NvmlGpu(0).identity() == UNKNOWN_IDENTITY
    assert gpu_count() == 0


def test_an_index_beyond_the_last_gpu_is_unknown(driver: FakeNvml) -> None:
    assert NvmlGpu(2).sample(None, 0.0) == replace(UNKNOWN_SAMPLE, note="NVML: Invalid Argument")
    assert NvmlGpu(2).identity().uuid is None
    assert driver.open == 0


def lost_sample(words: str = "NVML: GPU is lost", faults: int = 1, **changes: Any) -> GpuSample:
    fault = GpuFault(number=faults, words=words)
    return replace(UNREAD_SAMPLE, **({"health": GpuHealth.FAULT, "last_fault": fault, "note": words} | changes))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_GPU_IS_LOST, "NVML: GPU is lost"),
        (pynvml.NVML_ERROR_RESET_REQUIRED, "NVML: GPU requires restart"),
    ],
)
@pytest.mark.parametrize("function", READINGS)
def test_a_lost_gpu_has_a_fault_whichever_reading_notices(
    driver: FakeNvml, function: str, code: int, words: str
) -> None:
    gpu = NvmlGpu(0)
    assert gpu.sample(None, 0.0) == WHOLE_SAMPLE

    driver.errors[function] = code

    # One fault, for as long as it lasts.
    assert [gpu.sample(None, at) for at in (1.0, 2.0, 1.0 + RETRY_SECONDS)] == [lost_sample(words)] * 3


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH])
def test_a_driver_that_no_longer_works_is_unknown_and_no_fault_of_the_gpu(driver: FakeNvml, code: int) -> None:
    gpu = NvmlGpu(0)
    gpu.sample(None, 0.0)

    driver.errors |= dict.fromkeys(READINGS, code)

    sample = gpu.sample(None, 1.0)
    assert (sample.health, sample.last_fault) == (GpuHealth.UNKNOWN, None)
    assert sample.note == f"NVML: {pynvml.NVMLError(code)}"


def test_a_lost_gpu_is_looked_for_again_after_a_while_and_comes_back(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    driver.errors["nvmlDeviceGetTemperature"] = pynvml.NVML_ERROR_GPU_IS_LOST
    gpu.sample(None, 100.0)
    del driver.errors["nvmlDeviceGetTemperature"]

    assert gpu.sample(None, 100.0 + RETRY_SECONDS - 0.1) == lost_sample()
    assert driver.inits == 1
    back = gpu.sample(None, 100.0 + RETRY_SECONDS)
    assert replace(back, last_fault=None) == WHOLE_SAMPLE
    assert driver.open == 1
    # Lost again: another fault.
    driver.errors["nvmlDeviceGetTemperature"] = pynvml.NVML_ERROR_GPU_IS_LOST
    assert gpu.sample(None, 100.0 + RETRY_SECONDS + 1) == lost_sample(faults=2)


def test_a_lost_gpu_whose_driver_cannot_even_be_closed_is_no_other(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    gpu.sample(None, 0.0)
    driver.errors["nvmlDeviceGetTemperature"] = pynvml.NVML_ERROR_GPU_IS_LOST
    driver.errors["nvmlShutdown"] = pynvml.NVML_ERROR_UNINITIALIZED

    assert gpu.sample(None, 1.0) == lost_sample()


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
    assert {name for name in WHOLE_SAMPLE.__slots__ if getattr(sample, name) is None} == fields | {"last_fault"}


def test_a_gpu_that_answers_nothing_is_unknown(driver: FakeNvml) -> None:
    driver.errors |= dict.fromkeys((*READINGS, "nvmlDeviceGetMemoryInfo"), pynvml.NVML_ERROR_UNKNOWN)

    assert NvmlGpu(0).sample(None, 0.0) == replace(UNREAD_SAMPLE, note="NVML reports no reading of it")


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

    lost = gpu.sample(None, 1.0)
    assert lost == gpu.sample(None, 1.5) == lost_sample(faults=2, last_xid=79)
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


@pytest.mark.parametrize(("xid", "words"), [(94, "Xid 94: contained memory error"), (31, None), (0, None)])
def test_an_xid_error_of_the_hardware_is_a_fault_and_one_of_a_job_is_not(
    driver: FakeNvml, xid: int, words: str | None
) -> None:
    gpu = NvmlGpu(0)
    gpu.sample(None, 0.0)

    driver.xids = [xid]

    for at in (1.0, 2.0):
        sample = gpu.sample(None, at)
        assert (sample.last_fault and sample.last_fault.words, sample.health) == (words, GpuHealth.HEALTHY)


def test_a_driver_that_never_ends_its_queue_of_errors_holds_no_reading_up(driver: FakeNvml) -> None:
    class Endless(list[int]):
        def pop(self, *_: Any) -> int:
            return 13

    driver.xids = Endless([13])

    assert NvmlGpu(0).sample(None, 0.0).last_xid == 13


@pytest.mark.parametrize(
    ("answers", "unknown"),
    [
        ({"nvmlDeviceGetTemperature": 644_245_923}, {"temperature_c"}),
        ({"nvmlDeviceGetTemperature": 2**32 - 1}, {"temperature_c"}),
        ({"nvmlDeviceGetTemperature": "64"}, {"temperature_c"}),
        ({"nvmlDeviceGetTemperature": None}, {"temperature_c"}),
        ({"nvmlDeviceGetTemperature": float("nan")}, {"temperature_c"}),
        ({"nvmlDeviceGetPowerUsage": 2**32 - 1}, {"power_w"}),
        ({"nvmlDeviceGetPowerUsage": -1}, {"power_w"}),
        ({"nvmlDeviceGetClockInfo": 2**32 - 1}, {"sm_clock_mhz"}),
        ({"nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=2**32 - 1)}, {"utilization_percent"}),
        ({"nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=101)}, {"utilization_percent"}),
        ({"nvmlDeviceGetUtilizationRates": None}, {"utilization_percent"}),
        ({"nvmlDeviceGetMemoryInfo_v2": SimpleNamespace(used=2**64 - 1, total=2**36)}, {"memory_used_mib"}),
        ({"nvmlDeviceGetMemoryInfo_v2": SimpleNamespace(used=2**37, total=2**36)}, {"memory_used_mib"}),
        ({"nvmlDeviceGetMemoryInfo_v2": SimpleNamespace(used=2**30, total=0)}, {"memory_total_mib"}),
        ({"nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=2**32 - 1, usedGpuMemory=1)]}, {"processes"}),
        ({"nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid="1", usedGpuMemory=1)]}, {"processes"}),
        ({"nvmlDeviceGetComputeRunningProcesses": None}, {"processes"}),
    ],
    ids=str,
)
def test_what_no_gpu_can_have_is_unknown_and_the_rest_stands(
    driver: FakeNvml, answers: dict[str, Any], unknown: set[str]
) -> None:
    driver.answers |= answers

    sample = NvmlGpu(0).sample(None, 0.0)

    assert sample.health is GpuHealth.HEALTHY
    assert {name for name in WHOLE_SAMPLE.__slots__ if getattr(sample, name) is None} == unknown | {"last_fault"}


@pytest.mark.parametrize(
    ("function", "failure"),
    [
        ("nvmlDeviceGetTemperature", AttributeError("undefined symbol: nvmlDeviceGetTemperature")),
        ("nvmlDeviceGetMemoryInfo_v2", TypeError("unexpected keyword argument 'version'")),
        ("nvmlDeviceGetComputeRunningProcesses", ValueError("struct of another size")),
    ],
    ids=repr,
)
def test_a_binding_that_fails_leaves_the_rest_known(driver: FakeNvml, function: str, failure: Exception) -> None:
    driver.answers[function] = failure

    assert NvmlGpu(0).sample(None, 0.0).health is GpuHealth.HEALTHY


@pytest.mark.parametrize(
    "answer", [b"\xff\xfe", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "", "a\0b", 7], ids=repr
)
def test_a_name_that_is_no_text_is_unknown(driver: FakeNvml, answer: Any) -> None:
    driver.answers |= {"nvmlDeviceGetName": answer, "nvmlDeviceGetUUID": answer}

    identity = NvmlGpu(0).identity()

    assert (identity.name, identity.uuid, identity.memory_total_mib) == (None, None, 81_559)


def test_a_size_or_limit_that_no_gpu_can_have_is_unknown(driver: FakeNvml) -> None:
    driver.answers["nvmlDeviceGetMemoryInfo_v2"] = SimpleNamespace(used=0, total=2**64 - 1)
    driver.answers["nvmlDeviceGetEnforcedPowerLimit"] = 2**32 - 1

    identity = NvmlGpu(0).identity()

    assert (identity.memory_total_mib, identity.power_limit_w) == (None, None)


@pytest.mark.parametrize(
    ("maximum", "slowdown", "limit"),
    [
        (87, 90, 87.0),
        (None, 90, 90.0),
        (0, 2**32 - 1, None),
        (None, None, None),
    ],
)
def test_the_limit_is_the_cards_own(
    driver: FakeNvml, maximum: int | None, slowdown: int | None, limit: float | None
) -> None:
    for name, value in (("max", maximum), ("slowdown", slowdown)):
        function = f"nvmlDeviceGetTemperatureThreshold {name}"
        if value is None:
            driver.errors[function] = pynvml.NVML_ERROR_NOT_SUPPORTED
        driver.answers[function] = value

    assert NvmlGpu(0).sample(None, 0.0).temperature_limit_c == limit


def test_a_gpu_that_left_the_bus_is_not_mistaken_for_the_one_that_has_its_number_now(driver: FakeNvml) -> None:
    gpu = NvmlGpu(0)
    assert gpu.sample(None, 0.0).temperature_c == 64.0
    gpu._forget()  # as after an error that ends its handle
    driver.is_hidden = True

    lost = gpu.sample(None, 100.0)

    assert (lost.temperature_c, lost.note) == (None, "this machine has no GPU-1b2c now")
    driver.is_hidden = False
    assert gpu.sample(None, 200.0).temperature_c == 64.0


def test_a_gpu_that_is_known_by_its_uuid_is_opened_by_it(driver: FakeNvml) -> None:
    assert NvmlGpu(5, uuid="GPU-1b2c").sample(None, 0.0).temperature_c == 64.0
    assert NvmlGpu(5, device="GPU-1b2c").identity().uuid == "GPU-1b2c"
    assert NvmlGpu(0, uuid="GPU-other").sample(None, 0.0).note == "this machine has no GPU-other now"
