"""Opens the GPUs of this machine, real or simulated: one object for each GPU."""

from __future__ import annotations

from typing import Literal

from gpu_tasks.gpus.driver_thread import DriverThread, NoAnswer
from gpu_tasks.gpus.guarded import IDENTITY_ANSWER_SECONDS, GuardedGpu
from gpu_tasks.gpus.heat import HeatFile
from gpu_tasks.gpus.simulated import SimulatedGpu
from scheduler.rules.gpu import GpuBackend


def open_gpu(
    backend: str,
    index: int,
    seed: int,
    *,
    simulated_memory_mib: int | None = None,
    heat: HeatFile | None = None,
    device: int | str | None = None,
    uuid: str | None = None,
) -> GpuBackend:
    """Opens the GPU with this index.

    backend: simulated, nvml or auto. simulated_memory_mib: None for the memory of an H100. heat: where a simulated GPU
    keeps its temperature. device: the NVML index or the UUID on this machine, where it differs from the index in the
    cluster (a container sees only its own GPUs). uuid: of the GPU that this one has been so far; no other one takes its
    place.

    Never raises for a GPU that is missing or a driver that fails or hangs: with nvml the readings are then unknown,
    never simulated.
    """
    if resolve_backend(backend) == "simulated":
        return SimulatedGpu(index=index, seed=seed, memory_total_mib=simulated_memory_mib, heat=heat)

    def nvml() -> GpuBackend:
        from gpu_tasks.gpus.nvml import NvmlGpu  # noqa: PLC0415 - workers of simulated GPUs do not load pynvml

        return NvmlGpu(index, device, uuid)

    return GuardedGpu(index, nvml)


def resolve_backend(backend: str) -> Literal["simulated", "nvml"]:
    """Resolves auto: nvml if the driver loads and reports a GPU, or does not answer at all; else simulated."""
    match backend:
        case "simulated" | "nvml":
            return backend
        case "auto":
            from gpu_tasks.gpus.nvml import gpu_count  # noqa: PLC0415 - see above

            try:
                return "nvml" if DriverThread("driver").ask(gpu_count, IDENTITY_ANSWER_SECONDS) else "simulated"
            except NoAnswer:
                return "nvml"  # a driver that hangs is there
        case _:
            raise ValueError(f"unknown GPU backend {backend!r}; expected simulated, nvml or auto")
