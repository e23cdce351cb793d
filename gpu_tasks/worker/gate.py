"""In the job process, before each job: whether it may start one on its GPU. On real hardware it is proved, not
assumed, that the process is pinned to the right GPU, and that nothing of an earlier job is left there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gpu_tasks.gpus.driver_thread import DriverThread, NoAnswer
from gpu_tasks.processes import cuda, fork_guard
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.occupants import occupied
from gpu_tasks.worker.quarantine import lift_quarantine, quarantine_cuda
from scheduler.logs import event_logger
from scheduler.models import Gpu
from scheduler.rules.gpu import GpuBackend, GpuHealth

log = event_logger(__name__)

#: A driver needs a moment to free the memory of a killed process.
FREE_SECONDS: Final = 2.0
#: After an error of CUDA, NVML is asked for this time whether the GPU is broken: its report may come later.
FAULT_SECONDS: Final = 2.0
#: CUDA starts in a second or two; with many GPUs, or a driver that was not loaded, in ten.
CUDA_ANSWER_SECONDS: Final = 20.0
#: sysexits.h's "configuration error".
EXIT_CONFIGURATION: Final = 78


@dataclass(slots=True, kw_only=True)
class Gate:
    """Made before the fork, used in the job process."""

    gpu: int
    #: As NVML reports it; None if it does not.
    uuid: str | None
    has_cuda: bool
    held: Held
    open_gpu: Callable[[], GpuBackend]
    _cuda: DriverThread = field(default_factory=lambda: DriverThread("cuda"))
    _is_proven: bool = False
    _has_run: bool = False
    _backend: GpuBackend | None = None
    #: The number of the last fault of the GPU before the job.
    _fault_number: int = 0

    def closed_because(self) -> str | None:
        """Why this process may not start a job now; None if it may.
        Raises DatabaseFailure if the database does not answer."""
        if self.held.is_spent(os.getpid()):
            return "this job process is being replaced"
        if not self.has_cuda:
            return None
        return self.mispinned_because() or self._occupied_because()

    def passed(self) -> None:
        """A job starts."""
        self._has_run = True

    # --- pinning

    def mispinned_because(self) -> str | None:
        """Proved for each job, since an earlier one ran in this process; written down only when it is news. A wrong GPU
        is quarantined."""
        if self.uuid is not None and (wrong := self._wrong_device(self.uuid)) is not None:
            self._is_proven = False
            return quarantine_cuda(self.gpu, wrong)
        if not self._is_proven:
            lift_quarantine(self.gpu)
            self._is_proven = True
        return None

    def _wrong_device(self, uuid: str) -> str | None:
        # Once it is loaded, it does not end the process any more.
        self.held.loads_cuda(loads=not self._is_proven)
        try:
            found = self._cuda.ask(cuda.device_uuid_bytes, CUDA_ANSWER_SECONDS)
        except cuda.CudaFailed as error:
            return f"it does not start: {error}"
        except NoAnswer as error:
            return f"it has not answered for {error.seconds:.0f} s"
        finally:
            self.held.loads_cuda(loads=False)
        if found is None:
            if not self._is_proven:
                log.warning("pinning_not_proven", gpu=self.gpu, reason="CuPy is not installed")
            return None
        is_pinned = cuda.is_device(found, uuid)
        if is_pinned and self._is_proven:
            return None
        reported = uuid if is_pinned else cuda.uuid_of(found)
        Gpu.objects.filter(index=self.gpu).update(cuda_uuid=reported)
        if is_pinned:
            log.info("pinning_proven", gpu=self.gpu, uuid=uuid)
        return None if is_pinned else f"pinned to {uuid}, but CUDA reports {reported}"

    # --- what is left on the GPU

    def _occupied_because(self) -> str | None:
        deadline = time.monotonic() + FREE_SECONDS
        while (note := self._look()) is not None and time.monotonic() < deadline:
            time.sleep(0.1)
        if note is not None and self._has_run:
            # Perhaps a job left the memory in this process: a new one has none.
            self.held.spend()
        return note

    def _look(self) -> str | None:
        if self._backend is None:
            self._backend = self.open_gpu()
        sample = self._backend.sample(None, time.monotonic())
        self._fault_number = sample.last_fault.number if sample.last_fault else 0
        if sample.health is not GpuHealth.HEALTHY:
            return sample.note or f"health is {sample.health}"
        return occupied(sample, os.getppid(), idle=True)

    # --- what went wrong

    def gpu_fault_since(self, *, is_cuda_error: bool) -> str | None:
        """After a job that failed: whether NVML has reported a fault of the GPU since the job began, in words."""
        if self._backend is None:
            return None
        deadline = time.monotonic() + (FAULT_SECONDS if is_cuda_error else 0.0)
        while True:
            fault = self._backend.sample(None, time.monotonic()).last_fault
            if fault is not None and fault.number > self._fault_number:
                return fault.words
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.1)


def refuse_fork_after_cuda(gpu: int) -> None:
    """In the worker's main process, before each fork: CUDA does not work in a child of a process that has loaded it,
    and each of its jobs would fail. So the worker ends instead; the quarantine names the module."""
    if (loaded := cuda.loaded_here()) is None:
        return
    try:
        with fork_guard.database():
            quarantine_cuda(gpu, f"{loaded} is loaded in the worker's main process; a job type must import it in run()")
    finally:
        os._exit(EXIT_CONFIGURATION)
