"""The shelf of endings that could not be committed: files that outlive the worker."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from gpu_tasks.worker.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_what_is_kept_is_found_by_the_next_boot(spool: Spool, tmp_path: Path) -> None:
    spool.keep((12, 1), {"job_id": 12})
    spool.keep((7, 3), {"job_id": 7})

    found = Spool(tmp_path / "spool")

    assert sorted(found.keys()) == [(7, 3), (12, 1)]
    assert [found.read(key)["job_id"] for key in ((7, 3), (12, 1))] == [7, 12]


def test_what_was_dropped_is_gone(spool: Spool) -> None:
    spool.keep((12, 1), {})
    spool.keep((7, 3), {})

    spool.drop((12, 1))

    assert spool.keys() == ((7, 3),)


def test_half_a_file_is_not_kept(spool: Spool) -> None:
    with patch("os.fsync", side_effect=OSError("no space left on device")), pytest.raises(OSError, match="no space"):
        spool.keep((12, 1), {"job_id": 12})

    assert spool.keys() == ()


def test_what_is_set_aside_is_no_longer_kept_and_not_lost(spool: Spool, tmp_path: Path) -> None:
    spool.keep((12, 1), {"job_id": 12})

    path = spool.set_aside((12, 1))

    assert spool.keys() == ()
    assert path.parent == tmp_path / "spool"
    assert path.read_text() == '{"job_id": 12}'


def test_other_files_of_the_folder_are_not_kept_endings(spool: Spool, tmp_path: Path) -> None:
    for name in ("notes.json", "12.json", "12-1.json.77.part", "12-1.set-aside", "-1-1.json"):
        (tmp_path / "spool" / name).write_text("{}")

    assert spool.keys() == ()
