"""A driver in pynvml's place: the package's own constants and errors, and answers that a test sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml


class FakeNvml:
    """`errors`: by function name, the code that this function fails with. `answers`: another answer of this function,
    or an exception of another kind."""

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}
        self.answers: dict[str, Any] = {}
        self.count = 2
        self.open = 0
        self.inits = 0
        self.uuid: str | bytes = "GPU-1b2c"
        self.name: str | bytes = "NVIDIA H100 80GB HBM3"
        #: pid -> bytes of GPU memory; None where the driver does not tell.
        self.processes: dict[int, int | None] = {}
        #: Xid errors that nobody has heard of yet.
        self.xids: list[int] = []
        self.open_event_sets = 0
        #: The GPU with `uuid` has fallen off the bus; another one has its number.
        self.is_hidden = False

    def nvmlInit(self) -> None:  # noqa: N802
        self.inits += 1
        self._fail("nvmlInit")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1
        self._fail("nvmlShutdown")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._fail("nvmlDeviceGetCount")
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        self._fail("nvmlDeviceGetHandleByIndex")
        if index >= self.count:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return f"handle-{index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self._fail("nvmlDeviceGetHandleByUUID")
        if uuid != self.uuid or self.is_hidden:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "handle-of-uuid"

    def nvmlDeviceGetName(self, handle: str) -> str | bytes:  # noqa: N802
        return self._answer("nvmlDeviceGetName", self.name)

    def nvmlDeviceGetUUID(self, handle: str) -> str | bytes:  # noqa: N802
        return self._answer("nvmlDeviceGetUUID", self.uuid)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:  # noqa: N802
        return self._answer("nvmlDeviceGetEnforcedPowerLimit", 700_000)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:  # noqa: N802
        return self._answer("nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=97, memory=40))

    def nvmlDeviceGetMemoryInfo(self, handle: str, version: int | None = None) -> SimpleNamespace:  # noqa: N802
        name = "nvmlDeviceGetMemoryInfo_v2" if version else "nvmlDeviceGetMemoryInfo"
        reserved = 0 if version else 600
        return self._answer(name, SimpleNamespace(used=(1_024 + reserved) * 2**20, total=81_559 * 2**20 + 999))

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return self._answer("nvmlDeviceGetTemperature", 64)

    def nvmlDeviceGetTemperatureThreshold(self, handle: str, threshold: int) -> int:  # noqa: N802
        names = {
            pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX: "max",
            pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN: "slowdown",
        }
        name = names[threshold]
        return self._answer(f"nvmlDeviceGetTemperatureThreshold {name}", {"max": 87, "slowdown": 90}[name])

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return self._answer("nvmlDeviceGetPowerUsage", 612_345)

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:  # noqa: N802
        assert clock == pynvml.NVML_CLOCK_SM
        return self._answer("nvmlDeviceGetClockInfo", 1_755)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        found = [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes.items()]
        return self._answer("nvmlDeviceGetComputeRunningProcesses", found)

    def nvmlEventSetCreate(self) -> str:  # noqa: N802
        self._fail("nvmlEventSetCreate")
        self.open_event_sets += 1
        return "events"

    def nvmlEventSetFree(self, events: str) -> None:  # noqa: N802
        self.open_event_sets -= 1
        self._fail("nvmlEventSetFree")

    def nvmlDeviceRegisterEvents(self, handle: str, kinds: int, events: str) -> None:  # noqa: N802
        assert kinds == pynvml.nvmlEventTypeXidCriticalError
        self._fail("nvmlDeviceRegisterEvents")

    def nvmlEventSetWait_v2(self, events: str, timeout_ms: int) -> SimpleNamespace:  # noqa: N802
        assert timeout_ms == 0
        self._fail("nvmlEventSetWait_v2")
        if not self.xids:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        return SimpleNamespace(eventData=self.xids.pop(0))

    def _answer(self, function: str, value: Any) -> Any:
        self._fail(function)
        answer = self.answers.get(function, value)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _fail(self, function: str) -> None:
        if function in self.errors:
            raise pynvml.NVMLError(self.errors[function])

    def __getattr__(self, name: str) -> Any:
        """Constants and error classes only: a function that this driver lacks is a mistake in the test."""
        if not name.upper().startswith("NVML") or name.startswith("nvmlDevice"):
            raise AttributeError(name)
        return getattr(pynvml, name)
