"""The GPUs of this machine: which backend looks at them, and one object for each GPU."""

from __future__ import annotations

from typing import Literal

from gpu_tasks.gpus.simulated import SimulatedGpu
from scheduler.rules.gpu import GpuBackend


def open_gpu(
    backend: str, index: int, seed: int, *, simulated_memory_mib: int | None = None, device: int | None = None
) -> GpuBackend:
    """The GPU with this index. `backend`: simulated, nvml or auto; simulated_memory_mib: None for an H100's;
    device: as NVML counts it here, where that is not the index in the cluster (a container sees only its own).

    Never raises for a GPU that is not there: with nvml it is unknown, never simulated.
    """
    if resolve_backend(backend) == "simulated":
        return SimulatedGpu(index=index, seed=seed, memory_total_mib=simulated_memory_mib)
    from gpu_tasks.gpus.nvml import NvmlGpu  # noqa: PLC0415 - pynvml stays out of the simulated workers' memory

    return NvmlGpu(index if device is None else device)


def resolve_backend(backend: str) -> Literal["simulated", "nvml"]:
    """What `backend` means on this machine: auto is nvml if the driver loads and has a GPU, else simulated."""
    match backend:
        case "simulated" | "nvml":
            return backend
        case "auto":
            from gpu_tasks.gpus.nvml import gpu_count  # noqa: PLC0415 - see above

            return "nvml" if gpu_count() else "simulated"
        case _:
            raise ValueError(f"unknown GPU backend {backend!r}; expected simulated, nvml or auto")
