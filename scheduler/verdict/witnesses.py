"""Reads what the workers themselves saw: their witness files, in folders or in a tar. Streams; keeps nothing.

A file is `gpu-N.jsonl`, or the same compressed. Each host has those of its own workers; copies of another host's
lie in folders of their own, or come as a tar.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from errno import ENOSPC
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any, Final

#: The witness files that a tar may hold, before they are compressed.
TAR_MIB_MAXIMUM: Final = 2048

_NAME: Final = re.compile(r"gpu-\d+\.jsonl(\.gz)?")
#: Finds a line's job without reading the line as JSON: most lines are read only to be left out.
_JOB: Final = re.compile(rb'"job": ?(\d+)')
#: What Python says of a compressed stream or a tar that is damaged or cut off.
_DAMAGED: Final = (tarfile.TarError, EOFError, zlib.error, LZMAError, OSError)


class WitnessInvalid(ValueError):
    """No witness files, or none that can be read; the message says why."""


@dataclass(slots=True)
class Testimony:
    """One line of a witness file; at: seconds since the epoch, by the worker's clock."""

    at: float
    saw: str
    job: int
    attempt: int
    gpu: int
    boot: str


def testimonies(folders: Sequence[Path], first: int, end: int) -> Iterator[Testimony]:
    """Every whole line about the jobs from `first` up to, not including, `end`; each once.

    A line cut off by a power cut, or by a copy that was made while it was written, is left out. Raises WitnessInvalid.
    """
    for paths in _by_worker(folders):
        # One copy may be older than the other, or the GPU was another host's before: only their lines can tell.
        heard: set[bytes] | None = set() if len(paths) > 1 else None
        for path in paths:
            for line in _lines(path, first, end):
                if heard is not None:
                    if line in heard:
                        continue
                    heard.add(line)
                yield _testimony(path, line)


def check_folder(folder: Path) -> None:
    """Raises WitnessInvalid unless it holds witness files, all of which can be read."""
    if not folder.is_dir():
        raise WitnessInvalid(f"{folder} is not a folder" if folder.exists() else f"there is no folder {folder}")
    files = _files(folder)
    if not files:
        raise WitnessInvalid(f"{folder} holds no witness file (gpu-N.jsonl)")
    for path in files:
        try:
            path.open("rb").close()
        except OSError as error:
            raise WitnessInvalid(f"{path} cannot be read: {error.strerror}") from None


def unpack(stream: IO[bytes], into: Path) -> list[Path]:
    """The folders, below `into`, with the witness files of a tar; whatever else it holds is left out.

    Only names of ours are written there, never one that the tar gives. Raises WitnessInvalid.
    """
    folders: list[Path] = []
    room = TAR_MIB_MAXIMUM * 1024 * 1024
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if member.isreg() and _NAME.fullmatch(name) else None
                if content is None:
                    continue
                room -= member.size
                if room < 0:
                    raise WitnessInvalid(f"its witness files have more than {TAR_MIB_MAXIMUM} MiB")
                # Two hosts may have a file of the same name.
                folders.append(into / str(len(folders)))
                folders[-1].mkdir(mode=0o700)
                _keep(content, folders[-1] / name)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno == ENOSPC:
            raise WitnessInvalid(f"{into.parent} has no room for its witness files") from None
        raise WitnessInvalid(f"it cannot be read as a tar: {error}") from None
    if not folders:
        raise WitnessInvalid("it holds no witness file (gpu-N.jsonl)")
    return folders


def _keep(content: IO[bytes], path: Path) -> None:
    """Compressed: the disk may be a container's small one, in memory."""
    if path.suffix == ".gz":
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
    else:
        with gzip.open(f"{path}.gz", "wb", compresslevel=1) as file:
            shutil.copyfileobj(content, file)


def _by_worker(folders: Sequence[Path]) -> list[list[Path]]:
    """The files of each GPU's worker, in whichever folder they lie; a folder that is not there has none."""
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in _files(folder) if folder.exists() else []:
            found.setdefault(path.name.removesuffix(".gz"), []).append(path)
    return list(found.values())


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except OSError as error:
        raise WitnessInvalid(f"{folder} cannot be read: {error.strerror}") from None


def _lines(path: Path, first: int, end: int) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                found = _JOB.search(line)
                if found is not None and first <= int(found[1]) < end and line.endswith(b"\n"):
                    yield line
    except _DAMAGED as error:
        raise WitnessInvalid(f"{path} cannot be read: {error}") from None


def _testimony(path: Path, line: bytes) -> Testimony:
    try:
        values: dict[str, Any] = json.loads(line)
        return Testimony(
            at=values["at"],
            saw=values["saw"],
            job=values["job"],
            attempt=values["attempt"],
            gpu=values["gpu"],
            boot=values["boot"],
        )
    except (ValueError, KeyError, TypeError):
        raise WitnessInvalid(f"{path} has a line that no worker wrote: {line[:200]!r}") from None
