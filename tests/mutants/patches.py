"""Applies a unified diff by the text of its hunks, not by their line numbers: the source may move, not change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent

#: What a model of one job's life in virtual time does not contain. Each of these has a test in the failure catalogue.
BEYOND_THE_MODEL: Final = {
    "channel_layer",  # live view
    "fork_after_cuda",  # processes
    "no_admission",  # memory and disks
    "no_ageing",  # fairness
    "no_broker_timeouts",  # sockets
    "no_guard",  # malformed messages
    "no_process_group",  # processes
    "no_tick_slots",  # generator
    "no_watchdog",  # Celery's consumer
    "round_robin",  # Celery's consumer
    "stop_like_a_crash",  # a stop is a crash to the model
}


class SourceDrifted(Exception):
    """The text that a patch changes is not in the source, or is there more than once."""


@dataclass(frozen=True, slots=True)
class Hunk:
    file: str
    before: str
    after: str


def all_mutants() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.patch"))


def patch_of(mutant: str) -> Path:
    return FOLDER / f"{mutant}.patch"


def sentence(mutant: str) -> str:
    """What the source lacks with this patch."""
    return patch_of(mutant).read_text().splitlines()[0]


def hunks(patch: str) -> Iterator[Hunk]:
    """The text before the first file is for people."""
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
        text = file.read_text() if file.exists() else ""
        if text.count(hunk.before) != 1:
            raise SourceDrifted(
                f"{patch.name} changes {hunk.file}, which has this {text.count(hunk.before)} times:\n{hunk.before}"
            )
        file.write_text(text.replace(hunk.before, hunk.after))
