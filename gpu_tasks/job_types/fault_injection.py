"""Job type `fault_injection`: fails on purpose, in each way in which a job can fail."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from random import Random
from threading import Event, current_thread, main_thread
from typing import Any, ClassVar, Final, NoReturn

from pydantic import Field

from gpu_tasks.job_types.sleep import wait
from scheduler.job_type import DeviceMemoryExhausted, JobContext, JobFailed, JobParams

#: The memory that `out_of_memory` may allocate beyond what its process has already, and its step.
ALLOWANCE_BYTES: Final = 256 * 2**20
STEP_BYTES: Final = 16 * 2**20
#: `gpu_memory` allocates pieces of 1 GiB; the maximum is above the memory of any GPU.
GPU_PIECE_BYTES: Final = 2**30
GPU_PIECES_MAXIMUM: Final = 1024


class FaultMode(StrEnum):
    RAISE = "raise"
    OUT_OF_MEMORY = "out_of_memory"
    EXIT = "exit"
    KILL = "kill"
    HANG = "hang"
    SEGFAULT = "segfault"
    GPU_MEMORY = "gpu_memory"


class FaultInjectionParams(JobParams):
    mode: FaultMode = Field(
        default=FaultMode.RAISE,
        description=(
            "raise an error, run out of memory, exit, kill -9 its own process, hang and ignore every signal that "
            "can be ignored, end in a segmentation fault, or allocate all memory of its GPU"
        ),
    )
    probability: float = Field(default=1.0, ge=0, le=1, description="Probability of the failure, at each attempt")
    after_seconds: float = Field(default=1.0, ge=0, le=3_600, description="Seconds that it runs before the failure")


class FaultInjection:
    name: ClassVar[str] = "fault_injection"
    summary: ClassVar[str] = "Fails on purpose: error, out of memory, exit, kill -9 or hang"
    Params = FaultInjectionParams
    accepts_random_faults: ClassVar[bool] = False

    def run(self, params: FaultInjectionParams, context: JobContext) -> dict[str, Any]:
        wait(params.after_seconds, context.progress)
        # Drawn for each attempt, so that a job that failed may succeed at the next attempt.
        if Random(f"fault:{context.seed}:{context.attempt}").random() < params.probability:
            STRIKES[params.mode](context)
        return {"survived": True}

    def gpu_memory_mib(self, params: FaultInjectionParams) -> int:
        return 1024

    def load(self, params: FaultInjectionParams) -> float:
        return 0.5

    def duration_seconds(self, params: FaultInjectionParams) -> float:
        return params.after_seconds


def _raise(_context: JobContext) -> NoReturn:
    raise JobFailed("injected error: this job fails on purpose")


def _run_out_of_memory(_context: JobContext) -> NoReturn:
    """A real MemoryError under a limit of this process alone, so that the machine keeps its memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _address_space_bytes() + ALLOWANCE_BYTES
    hoard: list[bytearray] = []
    outcome = "without an error: this system does not enforce the limit"
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *(n for n in before if n >= 0)]), before[1]))
    try:
        # Beyond the allowance: memory that the process freed before is part of its address space already. Bounded,
        # for systems that do not enforce the limit.
        while len(hoard) * STEP_BYTES <= 4 * ALLOWANCE_BYTES:
            hoard.append(bytearray(STEP_BYTES))
    except MemoryError:
        outcome = "at the limit of this process"  # raised below, where the limit is lifted and raising cannot fail
    finally:
        taken_mib = len(hoard) * STEP_BYTES // 2**20
        hoard.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)
    raise DeviceMemoryExhausted(f"injected out of memory: after {taken_mib} MiB, {outcome}")


def _address_space_bytes() -> int:
    """The size that RLIMIT_AS limits; a generous guess where it cannot be read (not Linux)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 2**32


def _exit(_context: JobContext) -> NoReturn:
    os._exit(3)


def _kill(_context: JobContext) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    _wait_for_ever()


def _hang(_context: JobContext) -> NoReturn:
    if current_thread() is main_thread():  # elsewhere Python cannot set a handler
        # SIGUSR1 is Celery's soft time limit.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    _wait_for_ever()


def _end_in_a_segmentation_fault(_context: JobContext) -> NoReturn:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    ctypes.string_at(0)
    _wait_for_ever()


def _run_out_of_gpu_memory(context: JobContext) -> NoReturn:
    """Allocates the memory of a real GPU. A simulated GPU has none to allocate, and the error says so."""
    if not context.has_cuda:
        raise DeviceMemoryExhausted("injected out of GPU memory: the GPU is simulated, so nothing was allocated")
    import cupy  # noqa: PLC0415 (only with a real GPU)

    hoard: list[Any] = []
    try:
        while len(hoard) < GPU_PIECES_MAXIMUM:
            hoard.append(cupy.empty(GPU_PIECE_BYTES, dtype=cupy.uint8))
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise DeviceMemoryExhausted(f"injected out of GPU memory: {error}") from None
    finally:
        taken_gib = len(hoard)
        hoard.clear()
        cupy.get_default_memory_pool().free_all_blocks()
    raise DeviceMemoryExhausted(f"injected out of GPU memory: {taken_gib} GiB were allocated without an error")


def _wait_for_ever() -> NoReturn:
    never = Event()
    while True:
        never.wait(60)


STRIKES: Final[dict[FaultMode, Callable[[JobContext], NoReturn]]] = {
    FaultMode.RAISE: _raise,
    FaultMode.OUT_OF_MEMORY: _run_out_of_memory,
    FaultMode.EXIT: _exit,
    FaultMode.KILL: _kill,
    FaultMode.HANG: _hang,
    FaultMode.SEGFAULT: _end_in_a_segmentation_fault,
    FaultMode.GPU_MEMORY: _run_out_of_gpu_memory,
}
