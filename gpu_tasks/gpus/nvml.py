"""Real GPUs, read through NVML. The only module that imports pynvml (package nvidia-ml-py).

NVML numbers GPUs in bus order and ignores CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Final

import pynvml

from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuHealth, GpuIdentity, GpuLoad, GpuProcess, GpuSample

#: Seconds between two attempts to open a lost GPU: starting NVML can take seconds after a GPU fell off the bus.
RETRY_SECONDS: Final = 10.0

#: After these errors the GPU cannot be read, and its handle is invalid.
_GONE: Final = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
    }
)


class _Gone(Exception):
    """The driver or the GPU does not answer."""


class NvmlGpu:
    """One GPU. A value that NVML does not report is None; without a driver or a GPU all values are unknown."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._handle: Any = None
        #: None: this driver does not report Xid errors.
        self._events: Any = None
        self._last_xid: int | None = None
        self._retry_at_seconds = -inf

    def identity(self) -> GpuIdentity:
        uuid = name = memory_total = power_limit = None
        try:
            handle = self._open()
            uuid, name = _read(pynvml.nvmlDeviceGetUUID, handle), _read(pynvml.nvmlDeviceGetName, handle)
            memory_total = _read(_memory_total, handle)
            power_limit = _read(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        except _Gone:
            self._forget()
        return GpuIdentity(
            index=self._index,
            uuid=_text(uuid),
            name=_text(name),
            memory_total_mib=_mib(memory_total),
            power_limit_w=_watts(power_limit),
        )

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        if self._handle is None and now_seconds < self._retry_at_seconds:
            return replace(UNKNOWN_SAMPLE, last_xid=self._last_xid)
        try:
            handle = self._open()
            # First: the Xid error that explains a lost GPU must be read before the readings fail.
            self._hear()
            return _sample(handle, self._last_xid)
        except _Gone:
            self._forget()
            self._retry_at_seconds = now_seconds + RETRY_SECONDS
            return replace(UNKNOWN_SAMPLE, last_xid=self._last_xid)

    def _hear(self) -> None:
        """Keeps the latest Xid error. The driver queues them, and an error marks the end of its queue."""
        while self._events is not None:
            try:
                self._last_xid = int(pynvml.nvmlEventSetWait_v2(self._events, 0).eventData)
            except pynvml.NVMLError:
                return

    def _open(self) -> Any:
        if self._handle is None:
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError as error:
                raise _Gone from error
            try:
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(self._index)
            except pynvml.NVMLError as error:
                _shut_down()
                raise _Gone from error
            self._events = _listen(self._handle)
            if self._events is not None and self._last_xid is None:
                self._last_xid = 0
        return self._handle

    def _forget(self) -> None:
        """Closes NVML, so that the next attempt sees a driver that was loaded or a GPU that was reset meanwhile."""
        if self._handle is not None:
            if self._events is not None:
                _free(self._events)
            self._handle = self._events = None
            _shut_down()


def gpu_count() -> int:
    """The number of GPUs that the driver sees; 0 without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    finally:
        _shut_down()


def _listen(handle: Any) -> Any:
    """An NVML event set that collects the GPU's Xid errors from now on; None if the driver does not report them."""
    try:
        events = pynvml.nvmlEventSetCreate()
    except pynvml.NVMLError:
        return None
    try:
        pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
    except pynvml.NVMLError:
        _free(events)
        return None
    return events


def _free(events: Any) -> None:
    with suppress(pynvml.NVMLError):  # already gone with its driver
        pynvml.nvmlEventSetFree(events)


def _sample(handle: Any, last_xid: int | None) -> GpuSample:
    values = (
        _read(_utilization, handle),
        _read(_memory_used, handle),
        _read(_memory_total, handle),
        _read(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        _read(pynvml.nvmlDeviceGetPowerUsage, handle),
        _read(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
    )
    if all(value is None for value in values):
        raise _Gone
    utilization, memory_used, memory_total, temperature, power, sm_clock = values
    return GpuSample(
        health=GpuHealth.HEALTHY,
        utilization_percent=None if utilization is None else float(utilization),
        memory_used_mib=_mib(memory_used),
        memory_total_mib=_mib(memory_total),
        temperature_c=None if temperature is None else float(temperature),
        power_w=_watts(power),
        sm_clock_mhz=None if sm_clock is None else float(sm_clock),
        processes=_read(_processes, handle),
        last_xid=last_xid,
    )


def _processes(handle: Any) -> tuple[GpuProcess, ...]:
    """The processes on the GPU that exist in this pid namespace. In a container the driver may report pids of the
    host, this process among them; their memory still counts as memory in use."""
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return tuple(
        GpuProcess(pid=each.pid, memory_mib=_mib(each.usedGpuMemory))
        for each in running
        if Path(f"/proc/{each.pid}").exists()
    )


def _read(query: Callable[..., Any], *arguments: Any) -> Any:
    """The value, or None if this GPU or driver does not report it."""
    try:
        return query(*arguments)
    except pynvml.NVMLError as error:
        if error.value in _GONE:
            raise _Gone from error
        return None


def _utilization(handle: Any) -> Any:
    return pynvml.nvmlDeviceGetUtilizationRates(handle).gpu


def _memory_used(handle: Any) -> Any:
    return _memory(handle).used


def _memory_total(handle: Any) -> Any:
    return _memory(handle).total


def _memory(handle: Any) -> Any:
    """By version 2 of the call, as in nvidia-smi: version 1 counts memory that the driver reserves as used."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported):
        return pynvml.nvmlDeviceGetMemoryInfo(handle)  # a driver older than 510


def _shut_down() -> None:
    with suppress(pynvml.NVMLError):  # there is nothing left to close
        pynvml.nvmlShutdown()


def _text(value: bytes | str | None) -> str | None:
    """Older versions of the package return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _mib(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else int(size_bytes) // 2**20


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
