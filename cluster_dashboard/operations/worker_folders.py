"""Where the workers keep their witness and spool files: in the state folder, or each in a folder of its own below it.

In compose each worker mounts its own folder as its state folder, so that the code of a job reaches no other's files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings

#: Below the state folder; docker/make_secrets.py creates one folder for each worker's service there.
WORKERS: Final = "workers"


def worker_folders() -> list[Path]:
    """Every state folder of a worker of this host, this process's own first."""
    own = Path(settings.STATE_DIR).resolve()
    return [own, *sorted(path for path in (own / WORKERS).glob("gpu-*") if path.is_dir() and not path.is_symlink())]


def files(pattern: str) -> Iterator[tuple[Path, Path]]:
    """Each file below a worker's state folder that matches, and that folder. Not through a link: a job may have put it
    there to have another file read or removed."""
    for folder in worker_folders():
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and path.resolve() == path:
                yield path, folder


def witness_folders() -> list[Path]:
    """Those that exist, or else the one that a first worker would create."""
    found = [folder / "witness" for folder in worker_folders()]
    return [folder for folder in found if folder.is_dir() and folder.resolve() == folder] or found[:1]


def folder_of_worker(name: str) -> Path:
    """The state folder of the worker `gpu-N`: into which its restored files go."""
    own = Path(settings.STATE_DIR)
    folder = own / WORKERS / name
    inside = (folder, folder / "witness", folder / "spool", folder / "spool" / name)
    return folder if folder.is_dir() and not any(path.is_symlink() for path in inside) else own
