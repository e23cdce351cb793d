"""Job type `sleep`: holds its GPU for a while and does nothing; 0 seconds is a job without work."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Any, ClassVar, Final

from pydantic import Field

from scheduler.job_type import JobContext, JobParams

#: The longest wait in one piece, in seconds: how often progress is reported.
STEP_SECONDS: Final = 0.5


class SleepParams(JobParams):
    seconds: float = Field(default=5.0, ge=0, le=86_400, description="Seconds for which the job occupies the GPU")
    memory_mib: int = Field(default=4096, ge=0, le=1_048_576, description="GPU memory that the job declares, in MiB")
    load: float = Field(default=0.9, ge=0, le=1, description="Utilisation of a simulated GPU while it runs, 0 to 1")
    requested_gpus: int = Field(
        default=1,
        ge=1,
        le=65_536,
        description="GPUs that the job requested in its original trace; it runs on one",
    )


class Sleep:
    name: ClassVar[str] = "sleep"
    summary: ClassVar[str] = "Waits: a placeholder for work of known length"
    Params = SleepParams
    accepts_random_faults: ClassVar[bool] = False

    def run(self, params: SleepParams, context: JobContext) -> dict[str, Any]:
        started = monotonic()
        wait(params.seconds, context.progress)
        return {"slept_seconds": round(monotonic() - started, 3)}

    def gpu_memory_mib(self, params: SleepParams) -> int:
        return params.memory_mib

    def load(self, params: SleepParams) -> float:
        return params.load

    def duration_seconds(self, params: SleepParams) -> float:
        return params.seconds


def wait(seconds: float, progress: Callable[[float], None]) -> None:
    """Waits in small steps and reports the share that has passed."""
    ends_at = monotonic() + seconds
    never = Event()
    while (left := ends_at - monotonic()) > 0:
        progress(max(0.0, 1.0 - left / seconds))
        never.wait(min(left, STEP_SECONDS))
    progress(1.0)
