"""A machine whose GPUs are real for the product: stand-ins take the place of NVML's and CUDA's libraries."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final
from uuid import UUID

FOLDER: Final = Path(__file__).parent / "gpu_host"


def uuid_of(gpu: int) -> str:
    return f"GPU-{UUID(int=gpu + 1)}"


class GpuMachine:
    def __init__(self, gpus: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gpus-"))
        self.count = gpus
        self.environment = {"GPU_BACKEND": "nvml", "PYTHONPATH": str(FOLDER), "FAKE_GPUS": str(self._folder)}
        self.reset()

    def reset(self) -> None:
        self._gpus: list[dict[str, Any]] = [
            {"handle": gpu, "uuid": uuid_of(gpu), "used_mib": 0, "pids": []} for gpu in range(self.count)
        ]
        self._write()

    def set(self, gpu: int, **changes: Any) -> None:
        self._gpus[gpu].update(changes)
        self._write()

    def take_out(self, gpu: int) -> None:
        """It falls off the bus: the numbers of those behind it are one less."""
        del self._gpus[gpu]
        self._write()

    def loaded_cuda(self) -> set[int]:
        """The processes that ever loaded CUDA."""
        file = self._folder / "loaded_cuda"
        return set(map(int, file.read_text().split())) if file.exists() else set()

    def _write(self) -> None:
        aside = self._folder / f"gpus.{os.getpid()}.new"
        aside.write_text(json.dumps(self._gpus))
        aside.replace(self._folder / "gpus.json")
