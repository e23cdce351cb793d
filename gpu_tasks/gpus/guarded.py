"""A real GPU behind a guard: a driver that hangs, or fails in an unexpected way, makes the GPU unknown. It neither
delays nor ends the process that asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gpu_tasks.gpus.driver_thread import DriverThread, NoAnswer
from scheduler.logs import event_logger
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuBackend, GpuIdentity, GpuLoad, GpuSample

log = event_logger(__name__)

#: A reading takes milliseconds; one that takes longer than this is of no use.
SAMPLE_ANSWER_SECONDS: Final = 2.0
#: The first call may have to start the driver, which takes seconds where nothing keeps it loaded.
IDENTITY_ANSWER_SECONDS: Final = 10.0


class GuardedGpu:
    """`backend` is opened with the first call, under the same guard: its module may fail to load."""

    def __init__(self, index: int, backend: Callable[[], GpuBackend]) -> None:
        self._index, self._open = index, backend
        self._backend: GpuBackend | None = None
        self._driver = DriverThread("driver")
        #: What was logged last, so that each condition is logged once.
        self._note = ""

    def identity(self) -> GpuIdentity:
        try:
            identity = self._driver.ask(lambda: self._opened().identity(), IDENTITY_ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001 (whatever a driver or its binding raises)
            self._say(_words(error))
            return GpuIdentity(index=self._index, uuid=None, name=None, memory_total_mib=None, power_limit_w=None)
        self._say("")
        return identity

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        try:
            sample = self._driver.ask(lambda: self._opened().sample(load, now_seconds), SAMPLE_ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001 (as above)
            note = _words(error)
            self._say(note)
            return replace(UNKNOWN_SAMPLE, note=note)
        self._say("")
        return sample

    def _opened(self) -> GpuBackend:
        if self._backend is None:
            self._backend = self._open()
        return self._backend

    def _say(self, note: str) -> None:
        # Without the seconds, which change.
        said = note.partition(" for ")[0]
        if said != self._note:
            log.warning("gpu_driver_failed" if note else "gpu_driver_recovered", gpu=self._index, error=note or None)
        self._note = said


def _words(error: Exception) -> str:
    """For people: one line of at most 100 characters."""
    if isinstance(error, NoAnswer):
        return f"its driver has not answered for {error.seconds:.0f} s"
    return " ".join(f"it cannot be read: {type(error).__name__}: {error}".split())[:100]
