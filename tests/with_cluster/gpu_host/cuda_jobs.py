"""A job type that uses CUDA; on demand also where it must not: while its module is loaded."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from scheduler.job_type import JobContext, JobParams

if os.environ.get("CUDA_TOO_EARLY"):
    import cupy

    cupy.cuda.runtime.getDeviceCount()


class CudaProbeParams(JobParams):
    #: An error of CUDA that it ends with: the message of a CUDARuntimeError.
    error: str = ""
    #: Only on this GPU; on every one if it is None.
    on_gpu: int | None = None


class CudaProbe:
    name: ClassVar[str] = "cuda_probe"
    summary: ClassVar[str] = "Counts CUDA's devices"
    Params = CudaProbeParams
    accepts_random_faults: ClassVar[bool] = False

    def run(self, params: CudaProbeParams, context: JobContext) -> dict[str, Any]:
        import cupy

        devices = cupy.cuda.runtime.getDeviceCount()
        if params.error and params.on_gpu in (None, context.gpu_index):
            raise cupy.cuda.runtime.CUDARuntimeError(params.error)
        return {"devices": devices, "pid": os.getpid()}

    def gpu_memory_mib(self, params: CudaProbeParams) -> int:
        return 0

    def load(self, params: CudaProbeParams) -> float:
        return 0.1

    def duration_seconds(self, params: CudaProbeParams) -> float:
        return 1.0
