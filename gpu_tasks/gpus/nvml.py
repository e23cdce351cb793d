"""Real GPUs through NVML: the only door to pynvml (package nvidia-ml-py).

NVML counts GPUs in the order of the bus, whatever CUDA_VISIBLE_DEVICES says.
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

#: A GPU that is gone is looked for again this often: starting NVML can take seconds where one fell off the bus.
RETRY_SECONDS: Final = 10.0

#: After these errors no value of the GPU can be had, and its handle is no longer good.
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
    """One GPU. What NVML cannot tell is None; a missing driver or a lost GPU is unknown as a whole."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._handle: Any = None
        #: None: this driver tells no Xid errors.
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
            # First: what takes the GPU off the bus is told before its readings fail.
            self._hear()
            return _sample(handle, self._last_xid)
        except _Gone:
            self._forget()
            self._retry_at_seconds = now_seconds + RETRY_SECONDS
            return replace(UNKNOWN_SAMPLE, last_xid=self._last_xid)

    def _hear(self) -> None:
        """Keeps the latest Xid error. The driver queues them, and says by an error that no more are there."""
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
    """How many GPUs the driver sees; 0 where there is no driver."""
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
    """A set of events in which the GPU's Xid errors gather from now on; None where the driver tells of none."""
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
    with suppress(pynvml.NVMLError):  # it went with its driver
        pynvml.nvmlEventSetFree(events)


def _sample(handle: Any, last_xid: int | None) -> GpuSample:
    values = (
        _read(_utilization, handle),
        _read(_memory_used, handle),
        _read(_memory_total, handle),
        _read(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        _read(pynvml.nvmlDeviceGetPowerUsage, handle),
    )
    if all(value is None for value in values):
        raise _Gone
    utilization, memory_used, memory_total, temperature, power = values
    return GpuSample(
        health=GpuHealth.HEALTHY,
        utilization_percent=None if utilization is None else float(utilization),
        memory_used_mib=_mib(memory_used),
        memory_total_mib=_mib(memory_total),
        temperature_c=None if temperature is None else float(temperature),
        power_w=_watts(power),
        processes=_read(_processes, handle),
        last_xid=last_xid,
    )


def _processes(handle: Any) -> tuple[GpuProcess, ...]:
    """Without those that this machine does not know: in a container a driver may give the pids of its host, our
    own among them. What they hold still counts as memory in use."""
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return tuple(
        GpuProcess(pid=each.pid, memory_mib=_mib(each.usedGpuMemory))
        for each in running
        if Path(f"/proc/{each.pid}").exists()
    )


def _read(query: Callable[..., Any], *arguments: Any) -> Any:
    """The value, or None where this GPU or driver cannot tell it."""
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
    """Version 2, as nvidia-smi shows it: version 1 counts what the driver reserves for itself as used."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported):
        return pynvml.nvmlDeviceGetMemoryInfo(handle)  # a driver older than 510


def _shut_down() -> None:
    with suppress(pynvml.NVMLError):  # there is nothing left to close
        pynvml.nvmlShutdown()


def _text(value: bytes | str | None) -> str | None:
    """Older versions of the package give bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _mib(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else int(size_bytes) // 2**20


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
