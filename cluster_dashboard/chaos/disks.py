"""A disk without a free byte. Only a small file system is filled."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Final

from django.conf import settings

from cluster_dashboard.chaos.deaths import AFTER_HEAL
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.stage import CannotPlay, Stage
from cluster_dashboard.chaos.submitting import submit_for

#: A larger file system is not filled: it may hold other people's data.
LARGEST_BYTES: Final = 2 * 2**30
DISK_FULL_SECONDS: Final = 8.0
PIECE: Final = b"\0" * 2**20


def fill_disk(stage: Stage) -> None:
    folder = Path(settings.STATE_DIR)
    total = shutil.disk_usage(folder).total
    if total > LARGEST_BYTES:
        raise CannotPlay(
            f"STATE_DIR is on a file system of {total / 2**30:.0f} GiB; only one of at most "
            f"{LARGEST_BYTES // 2**30} GiB, such as a small tmpfs, is filled"
        )
    running = stage.sleeps(3.0)
    stage.expect(running)
    stage.starts(running)
    stage.expect(stage.sleeps(0.2, count=5 * len(stage.gpus)))
    stage.moment()
    filler = folder / "chaos-filler"
    stage.healing.callback(filler.unlink, missing_ok=True)
    stage.injected()
    _fill(filler)
    collect = submit_for(stage, DISK_FULL_SECONDS, may_be_refused=True)
    filler.unlink(missing_ok=True)
    stage.healed()
    stage.see_jobs_flow()
    collect()


def _fill(filler: Path) -> None:
    """Large pieces first, then small ones; other processes may use or free space meanwhile."""
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for piece in (PIECE, PIECE[:4096]):
            _write_until_full(descriptor, piece)
    finally:
        os.close(descriptor)


def _write_until_full(descriptor: int, piece: bytes) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.write(descriptor, piece)
        except OSError:
            return


SCENARIOS: Final = (
    Scenario(
        name="fill_disk",
        summary=f"the disk under STATE_DIR is full for {DISK_FULL_SECONDS:.0f} s (a small file system only)",
        play=fill_disk,
        promise=AFTER_HEAL,
    ),
)
