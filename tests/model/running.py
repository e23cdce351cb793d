"""Runs a hunt as a process of its own, on the source as it is or on a copy that lacks something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.project import ROOT

#: The promise to find every mutant in below two minutes, with the process's own start and end.
DEADLINE_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Hunted:
    #: The promise that was broken; None: every one was kept.
    broken: str | None
    words: str
    #: What the process said: the steps that led there.
    story: str
    seconds: float
    #: Where the process had the product's rules from.
    scheduler: Path


def hunt(*, rounds: int, seed: int, database: str | None = None, source: Path | None = None) -> Hunted:
    """source: a folder whose `scheduler` takes the place of the product's."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, (source, ROOT))))}
    if database is not None:
        environment["MODEL_DATABASE_URL"] = database
    begin = time.monotonic()
    # -P: the current folder does not come before the changed source.
    command = [sys.executable, "-P", "-m", "tests.model.hunt", "--json"]
    done = subprocess.run(
        [*command, "--rounds", str(rounds), "--seconds", str(DEADLINE_SECONDS), "--seed", str(seed)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1.25 * DEADLINE_SECONDS,
        check=False,
    )
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"the hunt ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    story = "\n".join(line for line in done.stdout.splitlines() if "contract_holds" not in line)
    return Hunted(told["promise"], told["words"], story, time.monotonic() - begin, Path(told["scheduler"]))
