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
    """Of CUDA's device 0 in this process; None if CuPy is not installed. CudaFailed if CuPy cannot be imported, in
    whatever way, or CUDA does not start."""
    try:
        import cupy  # noqa: PLC0415 - in the job process alone
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return None
        raise CudaFailed(f"CuPy cannot be imported: {_words(error)}") from error
    try:
        properties: dict[str, Any] = cupy.cuda.runtime.getDeviceProperties(0)
        return bytes(properties["uuid"])
    except Exception as error:
        raise CudaFailed(_words(error)) from error


def _words(error: BaseException) -> str:
    """On one line. Of the first cause: CuPy wraps it in a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def is_device(found: bytes, uuid: str) -> bool:
    """Whether CUDA's bytes are NVML's `GPU-...`. A binding that passes them as a C string cuts them at a zero byte."""
    expected = UUID(uuid.removeprefix("GPU-")).bytes
    return found == expected or (len(found) < UUID_BYTES and expected.startswith(found + b"\0"))


def uuid_of(found: bytes) -> str:
    """As NVML writes it."""
    return f"GPU-{UUID(bytes=found.ljust(UUID_BYTES, bytes(1))[:UUID_BYTES])}"
