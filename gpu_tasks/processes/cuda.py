"""CUDA, which only the job process may load: it does not work in children of a process that has loaded it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final
from uuid import UUID

UUID_BYTES: Final = 16


class CudaFailed(Exception):
    """CUDA does not start in this process."""


def loaded_here() -> str | None:
    """The part of CUDA that this process has loaded, in words; None if nothing."""
    if "cupy" in sys.modules:
        return "cupy"
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None  # not Linux: there is no CUDA either
    return "libcuda" if "/libcuda.so" in maps else None


def device_uuid_bytes() -> bytes | None:
    """Of CUDA's device 0 in this process; None if CuPy is not installed. CudaFailed if CUDA does not start."""
    try:
        import cupy  # noqa: PLC0415 - in the job process alone
    except ImportError:
        return None
    try:
        properties: dict[str, Any] = cupy.cuda.runtime.getDeviceProperties(0)
        return bytes(properties["uuid"])
    except Exception as error:
        raise CudaFailed(f"{type(error).__name__}: {error}") from error


def is_device(found: bytes, uuid: str) -> bool:
    """Whether CUDA's bytes are NVML's `GPU-...`. A binding that passes them as a C string cuts them at a zero byte."""
    expected = UUID(uuid.removeprefix("GPU-")).bytes
    return found == expected or (len(found) < UUID_BYTES and expected.startswith(found + b"\0"))


def uuid_of(found: bytes) -> str:
    """As NVML writes it."""
    return f"GPU-{UUID(bytes=found.ljust(UUID_BYTES, bytes(1))[:UUID_BYTES])}"
