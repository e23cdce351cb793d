"""A disk that is nearly full, and full to the last byte: jobs are refused, what runs is neither lost nor charged."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services import wait_until
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.storms import load, submit_for

#: Above the 9 s of silence after which a worker is dead.
FULL_SECONDS = 12.0
FLOOR_MIB = 32


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own in memory, which takes root's rights: nobody's real disk is filled."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def fill(file: Path, *, leave_mib: int) -> None:
    """Whole pieces first, then the last bytes; others may take or free some meanwhile."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for piece in (2**20, 4096):
            with suppress(OSError):
                while shutil.disk_usage(file.parent).free >= leave_mib * 2**20 + piece * (leave_mib > 0):
                    os.write(descriptor, b"\0" * piece)
    finally:
        os.close(descriptor)


def test_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    filler = small_disk / "filler"
    with Cluster(gpus=2, environment={"DISK_FREE_MIN_MIB": str(FLOOR_MIB)}) as cluster:
        before = load(cluster, running_seconds=4)

        fill(filler, leave_mib=FLOOR_MIB // 2)
        answer = cluster.api.http.post("/api/jobs", json={"type": "sleep"})
        assert (answer.status_code, answer.json()["reason"]) == (503, "disk_nearly_full")
        assert answer.headers["Retry-After"] == "60"

        # Neither database nor spool takes the results of what ends now.
        fill(filler, leave_mib=0)
        submitted = submit_for(cluster, FULL_SECONDS)
        assert set(submitted.statuses) == {503}
        filler.unlink()
        wait_until(
            lambda: cluster.api.http.post("/api/jobs", json={"type": "sleep"}).status_code == 202, 20, cluster.tail
        )
        before.assert_unhurt(seconds=60)
