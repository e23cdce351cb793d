"""The shelf for what could not be committed: one file for each ending, which outlives the worker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from scheduler.files import replace_file

type Key = tuple[int, int]
"""(job, attempt)"""

#: As this module writes them: of 012-1.json, the file 12-1.json would be looked for in vain.
_NAME: Final = re.compile(r"([1-9][0-9]{0,18})-([1-9][0-9]{0,8})\.json")


class Spool:
    """One folder for each GPU. Asks no database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, key: Key, values: dict[str, Any]) -> None:
        """Durable when it returns: OSError if the disk is full."""
        replace_file(self._path(key), json.dumps(values), durable=True)

    def read(self, key: Key) -> dict[str, Any]:
        """Raises ValueError or TypeError if the file is torn or holds something else."""
        return dict(json.loads(self._path(key).read_bytes()))

    def keys(self) -> tuple[Key, ...]:
        """By the names of the files."""
        found = [_NAME.fullmatch(path.name) for path in sorted(self._folder.iterdir())]
        return tuple((int(name[1]), int(name[2])) for name in found if name is not None)

    def drop(self, key: Key) -> None:
        self._path(key).unlink()

    def set_aside(self, key: Key) -> Path:
        """Out of the worker's way, for people to look at. Returns the file's new path."""
        path = self._path(key)
        return path.replace(path.with_suffix(".set-aside"))

    def _path(self, key: Key) -> Path:
        return self._folder / f"{key[0]}-{key[1]}.json"
