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

from gpu_tasks.gpus import plausible
from gpu_tasks.gpus.plausible import number, text, whole
from scheduler.logs import event_logger
from scheduler.rules.faults import xid_fault
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuFault, GpuHealth, GpuIdentity, GpuLoad, GpuProcess, GpuSample

log = event_logger(__name__)

#: Seconds between two attempts to open a lost GPU: starting NVML can take seconds after a GPU fell off the bus.
RETRY_SECONDS: Final = 10.0

#: At most this number of Xid errors is taken from the driver's queue for each reading.
XIDS_MAXIMUM: Final = 64

#: Errors of a GPU that is broken; its driver works.
_BROKEN: Final = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})
#: After these errors the GPU cannot be read, and its handle is invalid.
_GONE: Final = _BROKEN | {
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
}


class _Gone(Exception):
    """The driver or the GPU does not answer. The message is for people."""

    def __init__(self, error: pynvml.NVMLError | str) -> None:
        super().__init__(error if isinstance(error, str) else f"NVML: {error}")
        self.is_broken = not isinstance(error, str) and error.value in _BROKEN


class NvmlGpu:
    """One GPU. A value that NVML does not report is None; without a driver or a GPU all values are unknown.

    It is its UUID: once that is known, another GPU that has taken its number is never read in its place.
    """

    def __init__(self, index: int, device: int | str | None = None, uuid: str | None = None) -> None:
        """device: its number or UUID on this machine; None: its number is `index`. uuid: if it is known already."""
        self._index = index
        self._device = index if device is None else device
        self._uuid = uuid or (self._device if isinstance(self._device, str) else None)
        self._handle: Any = None
        #: None: this driver does not report Xid errors.
        self._events: Any = None
        self._temperature_limit_c: float | None = None
        self._last_xid: int | None = None
        self._last_fault: GpuFault | None = None
        self._retry_at_seconds = -inf
        #: Why the GPU could not be read lately, and whether it is broken.
        self._gone: _Gone | None = None

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
            uuid=text(uuid),
            name=text(name),
            memory_total_mib=_mib(memory_total) or None,
            power_limit_w=_watts(power_limit),
        )

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        if self._handle is None and now_seconds < self._retry_at_seconds:
            return self._unread()
        try:
            handle = self._open()
            # First: the Xid error that explains a lost GPU must be read before the readings fail.
            self._hear()
            sample = _sample(handle)
        except _Gone as gone:
            self._forget()
            self._retry_at_seconds = now_seconds + RETRY_SECONDS
            if gone.is_broken and not (self._gone and self._gone.is_broken):
                self._broke(str(gone))
            self._gone = gone
            return self._unread()
        self._gone = None
        return replace(
            sample,
            temperature_limit_c=self._temperature_limit_c,
            last_xid=self._last_xid,
            last_fault=self._last_fault,
        )

    def _unread(self) -> GpuSample:
        is_broken = self._gone is not None and self._gone.is_broken
        return replace(
            UNKNOWN_SAMPLE,
            health=GpuHealth.FAULT if is_broken else GpuHealth.UNKNOWN,
            note=str(self._gone or ""),
            last_xid=self._last_xid,
            last_fault=self._last_fault,
        )

    def _broke(self, words: str) -> None:
        before = self._last_fault.number if self._last_fault else 0
        self._last_fault = GpuFault(number=before + 1, words=words)

    def _hear(self) -> None:
        """Keeps the latest Xid error. The driver queues them, and an error marks the end of its queue."""
        for _ in range(XIDS_MAXIMUM if self._events is not None else 0):
            try:
                heard = pynvml.nvmlEventSetWait_v2(self._events, 0)
            except pynvml.NVMLError:
                return
            xid = whole(heard.eventData, plausible.XID)
            self._last_xid = xid or self._last_xid
            if xid and (words := xid_fault(xid)) is not None:
                self._broke(words)

    def _open(self) -> Any:
        if self._handle is None:
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError as error:
                raise _Gone(error) from error
            try:
                self._handle = self._found()
            except pynvml.NVMLError as error:
                _shut_down()
                if self._uuid is not None and error.value == pynvml.NVML_ERROR_NOT_FOUND:
                    raise _Gone(f"this machine has no {self._uuid} now") from error
                raise _Gone(error) from error
            if self._uuid is None:
                self._uuid = text(_read(pynvml.nvmlDeviceGetUUID, self._handle))
            self._temperature_limit_c = _temperature_limit_c(self._handle)
            self._events = _listen(self._handle)
            if self._events is not None and self._last_xid is None:
                self._last_xid = 0
        return self._handle

    def _found(self) -> Any:
        if self._uuid is not None:
            return pynvml.nvmlDeviceGetHandleByUUID(self._uuid)
        return pynvml.nvmlDeviceGetHandleByIndex(self._device)

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


def _sample(handle: Any) -> GpuSample:
    utilization_percent = number(_read(_utilization, handle), plausible.PERCENT)
    memory_used_mib = _mib(_read(_memory_used, handle))
    memory_total_mib = _mib(_read(_memory_total, handle)) or None
    temperature_c = number(
        _read(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU), plausible.CELSIUS
    )
    power_w = _watts(_read(pynvml.nvmlDeviceGetPowerUsage, handle))
    sm_clock_mhz = number(_read(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM), plausible.MEGAHERTZ)
    if {utilization_percent, memory_used_mib, memory_total_mib, temperature_c, power_w, sm_clock_mhz} == {None}:
        raise _Gone("NVML reports no reading of it")
    if memory_used_mib is not None and memory_total_mib is not None and memory_used_mib > memory_total_mib:
        memory_used_mib = None
    return GpuSample(
        health=GpuHealth.HEALTHY,
        utilization_percent=utilization_percent,
        memory_used_mib=memory_used_mib,
        memory_total_mib=memory_total_mib,
        temperature_c=temperature_c,
        power_w=power_w,
        sm_clock_mhz=sm_clock_mhz,
        processes=_read(_processes, handle),
    )


def _temperature_limit_c(handle: Any) -> float | None:
    """The maximum operating temperature, or else the one at which the card halves its clocks."""
    for threshold in (pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN):
        found = number(_read(pynvml.nvmlDeviceGetTemperatureThreshold, handle, threshold), plausible.LIMIT_CELSIUS)
        if found is not None:
            return found
    return None


def _processes(handle: Any) -> tuple[GpuProcess, ...] | None:
    """The processes on the GPU that exist in this pid namespace. In a container the driver may report pids of the
    host, this process among them; their memory still counts as memory in use. None if one cannot be read: a shorter
    list would be a false one."""
    running = [
        (whole(each.pid, plausible.PID), _mib(each.usedGpuMemory))
        for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    ]
    known = [(pid, memory_mib) for pid, memory_mib in running if pid is not None]
    if len(known) < len(running):
        return None
    return tuple(
        GpuProcess(pid=pid, memory_mib=memory_mib) for pid, memory_mib in known if Path(f"/proc/{pid}").exists()
    )


def _read(query: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, or None if this GPU or driver does not report it, or its binding cannot read the answer."""
    try:
        return query(*arguments)
    except pynvml.NVMLError as error:
        if error.value in _GONE:
            raise _Gone(error) from error
        return None
    except Exception as error:  # noqa: BLE001 (a name that is not UTF-8, a struct of another version, ..)
        log.debug("gpu_answer_not_readable", query=getattr(query, "__name__", query), error=error)
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


def _mib(size_bytes: object) -> int | None:
    size = whole(size_bytes, plausible.BYTES)
    return None if size is None else size // 2**20


def _watts(milliwatts: object) -> float | None:
    found = number(milliwatts, plausible.MILLIWATTS)
    return None if found is None else found / 1000
