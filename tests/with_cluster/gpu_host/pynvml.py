"""The package's own constants and errors, over GPUs that are not there."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import driver

_spec = importlib.util.spec_from_file_location("_pynvml", Path(sysconfig.get_path("purelib"), "pynvml.py"))
assert _spec is not None
assert _spec.loader is not None
_real = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _real
_spec.loader.exec_module(_real)
globals().update({name: value for name, value in vars(_real).items() if not name.startswith("_")})


def _answer(handle: int) -> dict[str, Any]:
    gpu = driver.gpu(handle)
    if gpu.get("is_lost"):
        raise _real.NVMLError(_real.NVML_ERROR_GPU_IS_LOST)
    return gpu


def nvmlInit() -> None:  # noqa: N802
    driver.gpus()


def nvmlShutdown() -> None:  # noqa: N802
    pass


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return len(driver.gpus())


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802
    if index >= len(driver.gpus()):
        raise _real.NVMLError(_real.NVML_ERROR_INVALID_ARGUMENT)
    return driver.gpus()[index]["handle"]


def nvmlDeviceGetHandleByUUID(uuid: str) -> int:  # noqa: N802
    for gpu in driver.gpus():
        if gpu["uuid"] == uuid:
            return gpu["handle"]
    raise _real.NVMLError(_real.NVML_ERROR_NOT_FOUND)


def nvmlDeviceGetUUID(handle: int) -> str:  # noqa: N802
    uuid = _answer(handle)["uuid"]
    if uuid is None:
        raise _real.NVMLError(_real.NVML_ERROR_NOT_SUPPORTED)
    return uuid


def nvmlDeviceGetName(handle: int) -> str:  # noqa: N802
    _answer(handle)
    return "Stand-in GPU"


def nvmlDeviceGetEnforcedPowerLimit(handle: int) -> int:  # noqa: N802
    _answer(handle)
    return 700_000


def nvmlDeviceGetUtilizationRates(handle: int) -> Any:  # noqa: N802
    _answer(handle)
    return SimpleNamespace(gpu=0, memory=0)


def nvmlDeviceGetMemoryInfo(handle: int, version: int | None = None) -> Any:  # noqa: N802
    return SimpleNamespace(used=_answer(handle)["used_mib"] * 2**20, total=80 * 2**30)


def nvmlDeviceGetTemperature(handle: int, sensor: int) -> int:  # noqa: N802
    _answer(handle)
    return 40


def nvmlDeviceGetTemperatureThreshold(handle: int, threshold: int) -> int:  # noqa: N802
    _answer(handle)
    return 90


def nvmlDeviceGetPowerUsage(handle: int) -> int:  # noqa: N802
    _answer(handle)
    return 95_000


def nvmlDeviceGetClockInfo(handle: int, clock: int) -> int:  # noqa: N802
    _answer(handle)
    return 345


def nvmlDeviceGetComputeRunningProcesses(handle: int) -> list[Any]:  # noqa: N802
    return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in _answer(handle)["pids"]]
