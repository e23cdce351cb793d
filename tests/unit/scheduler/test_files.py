"""A file is replaced as a whole or not at all."""

from __future__ import annotations

import os

import pytest

from scheduler.files import replace_file, replacement


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    return path


def test_a_reader_finds_the_old_content_until_the_new_one_is_complete(path):
    with replacement(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"

    assert path.read_text() == "new"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(path, tmp_path):
    with pytest.raises(OSError, match="disk full"), replacement(path):
        raise OSError("disk full")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_owner_can_read_it_whatever_the_umask(path):
    before = os.umask(0)
    try:
        replace_file(path, "secret")
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_process_with_the_same_pid_left_is_replaced(path, tmp_path):
    (tmp_path / f"result.json.{os.getpid()}.part").write_text("half of some")

    replace_file(path, "new")

    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_durable_file_is_on_disk_before_it_gets_its_name(path, monkeypatch):
    synced = []

    def sync(descriptor):
        synced.append((os.pread(descriptor, 99, 0), path.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    replace_file(path, "new", durable=True)

    assert synced == [(b"new", "old")]
