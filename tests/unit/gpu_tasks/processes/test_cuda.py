"""Which GPU CUDA gave a process, against the one that it was pinned to."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from gpu_tasks.processes import cuda

UUID_TEXT = "GPU-12345678-9abc-def0-0011-223344556677"
WHOLE = UUID(UUID_TEXT.removeprefix("GPU-")).bytes


def with_cupy(monkeypatch: pytest.MonkeyPatch, properties: Any) -> None:
    runtime = SimpleNamespace(getDeviceProperties=properties)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))


def test_the_uuid_is_written_as_nvml_writes_it() -> None:
    assert cuda.uuid_of(WHOLE) == UUID_TEXT


def test_the_pinned_gpu_is_known_by_its_bytes() -> None:
    assert cuda.is_device(WHOLE, UUID_TEXT)
    assert not cuda.is_device(WHOLE[:-1] + b"\x78", UUID_TEXT)


def test_bytes_that_were_cut_at_a_zero_are_the_same_gpu() -> None:
    assert cuda.is_device(WHOLE[: WHOLE.index(0)], UUID_TEXT)
    assert not cuda.is_device(WHOLE[:4], UUID_TEXT)
    assert not cuda.is_device(b"", UUID_TEXT)


def test_device_0_of_this_process_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cupy(monkeypatch, lambda device: {"uuid": WHOLE} if device == 0 else {})

    assert cuda.device_uuid_bytes() == WHOLE
    assert cuda.loaded_here() == "cupy"


def test_cuda_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(device: int) -> dict[str, bytes]:
        raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    with_cupy(monkeypatch, fails)

    with pytest.raises(cuda.CudaFailed, match="RuntimeError: cudaErrorNoDevice"):
        cuda.device_uuid_bytes()


def test_without_cupy_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)

    assert cuda.device_uuid_bytes() is None


def test_this_process_has_loaded_no_cuda() -> None:
    assert cuda.loaded_here() is None


BROKEN_CUPY = {
    "AttributeError: numpy has no attribute 'bool'": """raise AttributeError("numpy has no attribute 'bool'")""",
    "SystemExit: 1": "raise SystemExit(1)",
    "OSError: libnvrtc.so.12: cannot open": """
try:
    raise OSError("libnvrtc.so.12: cannot open")
except OSError as error:
    raise ImportError("=====\\nFailed to import CuPy.\\n") from error
""",
    "ModuleNotFoundError: No module named 'fastrlock_of_cupy'": "import fastrlock_of_cupy",
}


@pytest.mark.parametrize(("words", "source"), BROKEN_CUPY.items(), ids=list(BROKEN_CUPY))
def test_cupy_that_cannot_be_imported_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, source: str
) -> None:
    (tmp_path / "cupy.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)

    with pytest.raises(cuda.CudaFailed, match=re.escape(f"CuPy cannot be imported: {words}")):
        cuda.device_uuid_bytes()
