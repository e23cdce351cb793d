"""Reads the workers' own records: their witness files, from folders or from a tar. Streams; keeps nothing.

A file is `gpu-N.jsonl`, or the same compressed. Each host has the files of its own workers; copies from another host
are in a folder of their own, or in a tar.
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
from sys import intern
from typing import IO, Any, Final

#: The witness files that a tar may hold, before they are compressed.
TAR_MIB_MAXIMUM: Final = 2048

#: Lines of workers have about 110 bytes. A longer one, which may be all of a damaged file, is read in pieces.
_LINE_MAXIMUM_BYTES: Final = 64 * 1024

_NAME: Final = re.compile(r"gpu-[0-9]{1,5}\.jsonl(\.gz)?")
#: Finds the job of a line without parsing its JSON: most lines are skipped.
_JOB: Final = re.compile(rb'"job": ?(\d{1,19})')
#: The start of the line that a worker writes behind one that was cut off.
_MARK: Final = b'{"saw": "torn"'
#: Python's errors for a compressed stream or a tar that is damaged or truncated.
_DAMAGED: Final = (tarfile.TarError, EOFError, zlib.error, LZMAError, OSError)


class WitnessInvalid(ValueError):
    """There are no witness files, or they cannot be read; the message says why."""


@dataclass(slots=True)
class Testimony:
    """One line of a witness file; at: seconds since the epoch, by the worker's clock."""

    at: float
    saw: str
    job: int
    attempt: int
    gpu: int
    boot: str
    #: Of an end: the state that the worker committed.
    state: str | None


def testimonies(
    folders: Sequence[Path],
    first: int,
    end: int,
    set_aside: dict[str, int] | None = None,  # noqa: PT028 (not a test)
) -> Iterator[Testimony]:
    """Every complete line about the jobs from `first` up to, not including, `end`; each once.

    A line that was cut off is skipped if it is the last one (a copy made during a write), or if the worker has marked
    it; set_aside: gets the number of those in each file. Raises WitnessInvalid.
    """
    set_aside = {} if set_aside is None else set_aside
    for paths in _by_worker(folders):
        # One copy may be older than the other, or the GPU was on another host before: only the lines can tell.
        heard: set[bytes] | None = set() if len(paths) > 1 else None
        for path in paths:
            for line in _lines(path, first, end, set_aside):
                if heard is not None:
                    if line in heard:
                        continue
                    heard.add(line)
                yield _testimony(path, line)


def check_folder(folder: Path) -> None:
    """Raises WitnessInvalid unless the folder has witness files and all of them can be read."""
    if not folder.is_dir():
        raise WitnessInvalid(f"{folder} is not a folder" if folder.exists() else f"there is no folder {folder}")
    files = _files(folder)
    if not files:
        raise WitnessInvalid(f"{folder} has no witness file (gpu-N.jsonl)")
    for path in files:
        try:
            path.open("rb").close()
        except OSError as error:
            raise WitnessInvalid(f"{path} cannot be read: {error.strerror}") from None


def unpack(stream: IO[bytes], into: Path) -> list[Path]:
    """Unpacks the witness files of a tar into folders below `into`, and returns the folders. Other files are skipped.

    Never writes to a path that the tar names. Raises WitnessInvalid.
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
                    raise WitnessInvalid(f"its witness files are larger than {TAR_MIB_MAXIMUM} MiB")
                # Two hosts may have a file of the same name.
                folders.append(into / str(len(folders)))
                folders[-1].mkdir(mode=0o700)
                _keep(content, folders[-1] / name)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno == ENOSPC:
            raise WitnessInvalid(f"{into.parent} has no space left for its witness files") from None
        raise WitnessInvalid(f"it cannot be read as a tar: {error}") from None
    if not folders:
        raise WitnessInvalid("it has no witness file (gpu-N.jsonl)")
    return folders


def _keep(content: IO[bytes], path: Path) -> None:
    """Compressed: the folder may be on a container's small tmpfs."""
    if path.suffix == ".gz":
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
    else:
        with gzip.open(f"{path}.gz", "wb", compresslevel=1) as file:
            shutil.copyfileobj(content, file)


def _by_worker(folders: Sequence[Path]) -> list[list[Path]]:
    """The files of each GPU's worker, from all folders; a folder that does not exist has none."""
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


def _lines(path: Path, first: int, end: int, set_aside: dict[str, int]) -> Iterator[bytes]:
    before = b""
    torn = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(_LINE_MAXIMUM_BYTES):
                if line.startswith(_MARK) and _is_torn(before, line):
                    before = b""
                    torn += 1
                elif _is_about(before, first, end):
                    yield before
                before = line
    except _DAMAGED as error:
        raise WitnessInvalid(f"{path} cannot be read: {error}") from None
    if _is_about(before, first, end):
        yield before
    if torn:
        set_aside[str(path)] = torn


def _is_about(line: bytes, first: int, end: int) -> bool:
    found = _JOB.search(line)
    return found is not None and first <= int(found[1]) < end and line.endswith(b"\n")


def _is_torn(before: bytes, mark: bytes) -> bool:
    """Only what the mark describes, and what is no whole line: a mark hides nothing that a worker has seen."""
    try:
        is_described = bool(json.loads(mark)["bytes"] == len(before) - 1)
    except (ValueError, KeyError, TypeError):
        return False
    try:
        json.loads(before)
    except ValueError:
        return is_described
    return False


def _testimony(path: Path, line: bytes) -> Testimony:
    try:
        values: dict[str, Any] = json.loads(line)
        return Testimony(
            at=values["at"],
            saw=values["saw"],
            job=values["job"],
            attempt=values["attempt"],
            gpu=values["gpu"],
            boot=intern(values["boot"]),
            state=values.get("state"),
        )
    except (ValueError, KeyError, TypeError):
        raise WitnessInvalid(f"{path} has a line that no worker wrote: {line[:200]!r}") from None
