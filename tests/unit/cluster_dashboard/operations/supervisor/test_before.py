"""What a second start says of the first one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster_dashboard.operations.supervisor import before


@pytest.fixture
def held(settings, tmp_path: Path):
    settings.RUN_DIR = tmp_path
    descriptor = before.take_cluster_lock()
    yield tmp_path / "up.lock"
    os.close(descriptor)


def test_it_says_where_the_first_one_runs(held: Path) -> None:
    with pytest.raises(before.AlreadyRunning, match=rf"process {os.getpid()}\).*http://localhost:8080/"):
        before.take_cluster_lock()


@pytest.mark.parametrize("content", [b"", bytes(20), b"null", b"[1]", b'{"pid": 1', b"\xff"])
def test_a_torn_lock_file_is_no_error(held: Path, content: bytes) -> None:
    held.write_bytes(content)

    with pytest.raises(before.AlreadyRunning, match=r"process \?"):
        before.take_cluster_lock()
