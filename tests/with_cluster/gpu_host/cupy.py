"""As much of CuPy as the product asks, with CUDA's own rule: a process whose parent has started it cannot use it."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import driver

driver.note_import()
_trouble = next((gpu.get("import") for gpu in driver.gpus() if gpu["uuid"] == os.environ["CUDA_VISIBLE_DEVICES"]), None)
if _trouble == "raises":
    raise AttributeError("numpy has no attribute 'bool'")
if _trouble == "ends the process":
    os.kill(os.getpid(), signal.SIGSEGV)
_started_in: int | None = None


class CUDARuntimeError(RuntimeError):
    pass


def _start() -> None:
    global _started_in  # noqa: PLW0603
    if _started_in not in (None, os.getpid()):
        raise CUDARuntimeError("cudaErrorInitializationError: initialization error")
    _started_in = os.getpid()


def _device_count() -> int:
    _start()
    return 1


def _device_properties(device: int) -> dict[str, Any]:
    _start()
    visible = os.environ["CUDA_VISIBLE_DEVICES"]
    found = next(
        (gpu for index, gpu in enumerate(driver.gpus()) if visible in (gpu["uuid"], str(index))), driver.gpus()[0]
    )
    return {"uuid": UUID((found.get("cuda_uuid") or found["uuid"]).removeprefix("GPU-")).bytes}


runtime = SimpleNamespace(
    getDeviceCount=_device_count, getDeviceProperties=_device_properties, CUDARuntimeError=CUDARuntimeError
)
cuda = SimpleNamespace(runtime=runtime)
