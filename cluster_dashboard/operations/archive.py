"""The members of a backup: their names by an allow-list, their sizes limited. Nothing else is read from the file."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from django.core.serializers.base import DeserializationError
from django.db import DataError, IntegrityError

MANIFEST: Final = "manifest.json"
SECRETS: Final = "state/.env"

_STATE: Final = "state/"
_TABLE: Final = re.compile(r"tables/[a-z_]{1,60}\.[a-z0-9_]{1,60}\.jsonl")
_WITNESS: Final = re.compile(r"state/witness/gpu-[0-9]{1,5}\.jsonl")
_SPOOLED: Final = re.compile(r"state/spool/gpu-[0-9]{1,5}/[0-9]{1,19}-[0-9]{1,10}\.json")

#: Much more than a manifest, the secrets, or a spooled result (64 KiB and its error) needs.
SMALL_BYTES_MAXIMUM: Final = 4 * 2**20
#: Characters in one row of a table. A submission has at most 8 MiB.
LINE_MAXIMUM: Final = 16 * 2**20
#: Rows, and about how many characters of them, that are held in memory at once.
ROWS_AT_ONCE: Final = 1000
CHARACTERS_AT_ONCE: Final = 16 * 2**20
_CHUNK_BYTES: Final = 2**20

#: The methods that `backup` writes; the others need modules that may be missing here.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1


class BackupInvalid(ValueError):
    """The file is not a backup that can be restored here; the message says why."""


# --- names ----------------------------------------------------------------------------------------


def table_name(label_lower: str) -> str:
    return f"tables/{label_lower}.jsonl"


def member_name(file: Path, state_dir: Path) -> str | None:
    """The name in a backup of a witness or spool file; None for every other file in the state folder."""
    name = f"{_STATE}{file.relative_to(state_dir).as_posix()}"
    return name if is_witness(name) or is_spooled(name) else None


def _is_known(name: str) -> bool:
    return name in (MANIFEST, SECRETS) or is_witness(name) or is_spooled(name) or _TABLE.fullmatch(name) is not None


def is_witness(name: str) -> bool:
    return _WITNESS.fullmatch(name) is not None


def is_spooled(name: str) -> bool:
    return _SPOOLED.fullmatch(name) is not None


def worker_of(name: str) -> str | None:
    """`gpu-N` of a witness or spool file; None for another member."""
    if is_witness(name):
        return Path(name).stem
    return Path(name).parent.name if is_spooled(name) else None


def spooled_keys(archive: zipfile.ZipFile) -> set[str]:
    """`<job>-<attempt>` of each result that was not yet committed."""
    return {Path(name).stem for name in archive.namelist() if is_spooled(name)}


# --- reading --------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Raises BackupInvalid unless every member is one that `backup` writes; also for what the block finds damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            yield archive
    except OSError as error:
        raise BackupInvalid(f"{path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError) as error:
        raise BackupInvalid(f"{path}: is not a whole backup: {error}") from None
    except (DeserializationError, IntegrityError, DataError) as error:
        raise BackupInvalid(f"{path}: is not a whole backup: {error}") from None


def is_backup(path: Path) -> bool:
    """Whether `opened` accepts it."""
    try:
        with opened(path):
            return True
    except BackupInvalid:
        return False


def _check_members(archive: zipfile.ZipFile) -> None:
    """Of the files for the state folder the content too: they are written when the database has been replaced."""
    seen: set[str] = set()
    for member in archive.infolist():
        # As it is in the file: zipfile cuts a name at its first NUL.
        name = member.orig_filename
        if not _is_known(name):
            raise BackupInvalid(f"{archive.filename}: holds {name!r:.200}, which no backup holds")
        if name in seen:
            raise BackupInvalid(f"{archive.filename}: holds {name!r} twice")
        if member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED:
            raise BackupInvalid(f"{archive.filename}: {name!r} is encrypted or compressed in a way that no backup is")
        seen.add(name)
    for name in _for_state_dir(archive):
        with _opened_member(archive, name) as file:
            while file.read(_CHUNK_BYTES):
                pass


def read_small(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.namelist():
        raise BackupInvalid(f"{archive.filename}: is not a whole backup: it holds no {name}")
    with _opened_member(archive, name) as file:
        return file.read()


def read_rows(archive: zipfile.ZipFile, name: str) -> Iterator[list[str]]:
    """The lines of a table, some at a time."""
    lines: list[str] = []
    characters = 0
    with archive.open(name) as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as file:
        while line := file.readline(LINE_MAXIMUM):
            if len(line) == LINE_MAXIMUM:
                raise BackupInvalid(f"{archive.filename}: {name} has a line of {LINE_MAXIMUM} characters or more")
            lines.append(line)
            characters += len(line)
            if len(lines) == ROWS_AT_ONCE or characters > CHARACTERS_AT_ONCE:
                yield lines
                lines, characters = [], 0
    yield lines


def size_in_state_dir(archive: zipfile.ZipFile) -> int:
    """The bytes that the files for the state folder need on its disk. zipfile reads no more than each declares."""
    return sum(archive.getinfo(name).file_size for name in _for_state_dir(archive))


def extract(archive: zipfile.ZipFile, name: str, into: IO[bytes]) -> None:
    with _opened_member(archive, name) as file:
        shutil.copyfileobj(file, into, _CHUNK_BYTES)


def path_in_state_dir(name: str) -> Path:
    """Relative to the state folder; only for a member of an opened backup."""
    return Path(name.removeprefix(_STATE))


def _for_state_dir(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if name.startswith(_STATE)]


def _opened_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Witness files are read in pieces, and may be as large as the disk allows."""
    size = archive.getinfo(name).file_size
    if size > SMALL_BYTES_MAXIMUM and not is_witness(name):
        raise BackupInvalid(f"{archive.filename}: {name} has {size} bytes; at most {SMALL_BYTES_MAXIMUM} are read")
    return archive.open(name)
