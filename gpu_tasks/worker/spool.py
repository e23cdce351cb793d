"""The shelf for what could not be committed: one file for each ending, which outlives the worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scheduler.files import replace_file

type Key = tuple[int, int]
"""(job, attempt)"""


class Spool:
    """One folder for each GPU. Asks no database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, key: Key, values: dict[str, Any]) -> None:
        """Durable when it returns: OSError if the disk is full."""
        replace_file(self._path(key), json.dumps(values), durable=True)

    def kept(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self._files()]

    def keys(self) -> tuple[Key, ...]:
        """By the names of the files."""
        found = [path.stem.split("-") for path in self._files()]
        return tuple((int(job_id), int(attempt)) for job_id, attempt in found)

    def drop(self, key: Key) -> None:
        self._path(key).unlink()

    def _path(self, key: Key) -> Path:
        return self._folder / f"{key[0]}-{key[1]}.json"

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))
