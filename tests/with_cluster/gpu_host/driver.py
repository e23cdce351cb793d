"""What the stand-ins for NVML and CuPy know of this machine's GPUs: a file that the test writes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def folder() -> Path:
    return Path(os.environ["FAKE_GPUS"])


def gpus() -> list[dict[str, Any]]:
    return json.loads((folder() / "gpus.json").read_text())


def gpu(handle: int) -> dict[str, Any]:
    """After the time that this GPU's driver takes for each call, or once it no longer hangs."""
    time.sleep(_at(handle).get("answer_seconds", 0.0))
    while _at(handle).get("hangs"):
        time.sleep(0.05)
    return _at(handle)


def _at(handle: int) -> dict[str, Any]:
    """A handle stays with its GPU, whatever number that has now; of one that fell off the bus it is worth nothing."""
    return next((gpu for gpu in gpus() if gpu["handle"] == handle), {"is_lost": True})


def note_import() -> None:
    """Which process loaded CUDA."""
    with (folder() / "loaded_cuda").open("a") as file:
        file.write(f"{os.getpid()}\n")
