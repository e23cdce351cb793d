"""Applies a unified diff by what its hunks say, not by their line numbers: the source may move, not change.

Also those patches are plain: `git apply` and `patch -p1` take them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class SourceDrifted(Exception):
    """What a patch would change is not in the source any more, or is there more than once."""


@dataclass(frozen=True, slots=True)
class Hunk:
    file: str
    before: str
    after: str


def hunks(patch: str) -> Iterator[Hunk]:
    """What stands before the first file is for people."""
    for part in re.split(r"^--- ", patch, flags=re.MULTILINE)[1:]:
        _, target, body = part.split("\n", 2)
        file = target.removeprefix("+++ b/").strip()
        for lines in re.split(r"^@@ .*\n", body, flags=re.MULTILINE)[1:]:
            yield Hunk(file, _side(lines, "-"), _side(lines, "+"))


def _side(lines: str, sign: str) -> str:
    return "".join(line[1:] for line in lines.splitlines(keepends=True) if line[:1] in {" ", sign})


def apply(patch: Path, folder: Path) -> None:
    """Changes the files under `folder`."""
    for hunk in hunks(patch.read_text()):
        file = folder / hunk.file
        text = file.read_text()
        if text.count(hunk.before) != 1:
            raise SourceDrifted(
                f"{patch.name} changes {hunk.file}, where this stands {text.count(hunk.before)} times:\n{hunk.before}"
            )
        file.write_text(text.replace(hunk.before, hunk.after))
