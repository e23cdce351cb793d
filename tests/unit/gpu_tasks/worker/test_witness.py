"""A line of the witness is there as a whole or not at all; one that a crash cut off spoils no other."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from gpu_tasks.worker.witness import Saw, Witness
from scheduler.verdict import witnesses


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path, 3, "boot-1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gpu-3.jsonl"


def heard(folder: Path, torn: dict[str, int] | None = None) -> list[tuple[int, str]]:
    return [(each.job, each.saw) for each in witnesses.testimonies([folder], 0, 2**63, torn)]


@pytest.mark.parametrize("cut", range(1, 90, 7))
@pytest.mark.parametrize("has_older", [True, False])
def test_a_line_that_was_cut_off_is_marked_and_set_aside(
    witness: Witness, tmp_path: Path, file: Path, cut: int, has_older: bool
) -> None:
    if has_older:
        witness.saw(Saw.CLAIMING, 1, 1)
    before = file.read_bytes()
    witness.saw(Saw.CLAIMING, 12, 1)
    file.write_bytes(file.read_bytes()[: len(before) + cut])
    torn: dict[str, int] = {}

    Witness(tmp_path, 3, "boot-2").saw(Saw.CLAIMING, 2, 1)
    witness.saw(Saw.STARTED, 2, 1)

    expected = [(1, "claiming")] if has_older else []
    assert heard(tmp_path, torn) == [*expected, (2, "claiming"), (2, "started")]
    assert torn == {str(file): 1}


def test_a_tail_of_zeros_is_marked_and_set_aside(witness: Witness, tmp_path: Path, file: Path) -> None:
    witness.saw(Saw.CLAIMING, 1, 1)
    file.write_bytes(file.read_bytes() + bytes(10_000))

    witness.saw(Saw.CLAIMING, 2, 1)

    assert heard(tmp_path) == [(1, "claiming"), (2, "claiming")]


def test_a_whole_line_that_lacks_only_its_end_counts(witness: Witness, tmp_path: Path, file: Path) -> None:
    witness.saw(Saw.CLAIMING, 1, 1)
    file.write_bytes(file.read_bytes()[:-1])
    torn: dict[str, int] = {}

    witness.saw(Saw.CLAIMING, 2, 1)

    assert heard(tmp_path, torn) == [(1, "claiming"), (2, "claiming")]
    assert torn == {}


@pytest.mark.parametrize("mark", [b'{"saw": "torn", "bytes": 3}\n', b'{"saw": "torn"}\n', b'{"saw": "torn"\n', b""])
def test_half_a_line_without_its_mark_is_not_set_aside(tmp_path: Path, file: Path, mark: bytes) -> None:
    file.write_bytes(b'{"at": 1, "saw": "claiming", "job": 1, "att\n' + mark)

    with pytest.raises(witnesses.WitnessInvalid, match="a line that no worker wrote"):
        heard(tmp_path)


def test_a_short_write_is_finished(witness: Witness, tmp_path: Path) -> None:
    write = os.write
    with patch("os.write", lambda file, data: write(file, data[:7])):
        witness.saw(Saw.CLAIMING, 1, 1)

    assert heard(tmp_path) == [(1, "claiming")]


def test_a_full_disk_leaves_no_half_line(witness: Witness, tmp_path: Path, file: Path) -> None:
    witness.saw(Saw.CLAIMING, 1, 1)
    before, write = file.read_bytes(), os.write

    def until_full(descriptor: int, data: bytes) -> int:
        if len(data) < 60:
            raise OSError(errno.ENOSPC, "no space left on device")
        return write(descriptor, data[:50])

    with patch("os.write", until_full), pytest.raises(OSError, match="no space"):
        witness.saw(Saw.CLAIMING, 2, 1)

    assert file.read_bytes() == before
    witness.saw(Saw.CLAIMING, 2, 1)
    assert heard(tmp_path) == [(1, "claiming"), (2, "claiming")]


def test_two_processes_never_mix_their_lines(witness: Witness, tmp_path: Path, file: Path) -> None:
    pid = os.fork()
    if pid == 0:
        for number in range(500):
            witness.saw(Saw.CLAIMING, 1000 + number, 1)
        os._exit(0)
    for number in range(500):
        witness.saw(Saw.CLAIMING, number, 1)

    assert os.waitpid(pid, 0)[1] == 0
    assert len([json.loads(line) for line in file.read_bytes().splitlines()]) == 1000
    assert sorted(job for job, _ in heard(tmp_path)) == [*range(500), *range(1000, 1500)]


def test_a_descriptor_that_a_job_closed_is_opened_again(witness: Witness, tmp_path: Path) -> None:
    witness.saw(Saw.CLAIMING, 1, 1)
    os.close(witness._file)
    with (tmp_path / "other").open("w") as other:
        witness.saw(Saw.CLAIMING, 2, 1)

        assert Path(other.name).read_text() == ""
    assert heard(tmp_path) == [(1, "claiming"), (2, "claiming")]
