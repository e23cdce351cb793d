"""The copies: everything that the product and its tests need, in a folder of its own."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from tests.mutants.patches import apply, patch_of
from tests.project import ROOT

#: What is copied. Compiled files too: they are valid as long as their source has its time and size.
PARTS: Final = (
    "manage.py",
    "pyproject.toml",
    "scheduler",
    "gpu_tasks",
    "cluster_dashboard",
    "docker/roles.sql",
    "tests",
)

#: In a copy, the file that names its mutant.
MARK: Final = ".mutant"


@cache
def source_without(mutant: str) -> Path:
    """A copy of the source with the mutant's patch applied; one for all tests of this process. Never change it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{mutant}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy_source(folder)
    apply(patch_of(mutant), folder)
    (folder / MARK).write_text(mutant)
    return folder


def copy_source(folder: Path) -> None:
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part)
        else:
            (folder / part).parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / part, folder / part)


def mutant_of(folder: Path) -> str | None:
    """None: the source as it is."""
    mark = folder / MARK
    return mark.read_text() if mark.exists() else None
