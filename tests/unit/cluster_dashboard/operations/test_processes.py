"""The roles: their names, and the files that say who runs."""

import os

import pytest
from django.core.management import CommandError, call_command

from cluster_dashboard.operations import run_files
from cluster_dashboard.operations.processes import ENTRIES, Process, Role, parse
from gpu_tasks.processes.cluster_pids import pid_path, read_pid


@pytest.fixture(autouse=True)
def run_dir(settings, tmp_path):
    settings.RUN_DIR = tmp_path
    return tmp_path


@pytest.mark.parametrize(
    ("words", "index", "expected"),
    [
        ("gpu-3", None, Process(role=Role.GPU, index=3)),
        ("gpu", 3, Process(role=Role.GPU, index=3)),
        ("web", None, Process(role=Role.WEB)),
    ],
)
def test_a_process_is_named_in_two_ways(words, index, expected):
    assert parse(words, index) == expected


@pytest.mark.parametrize(
    ("words", "index"), [("gpu", None), ("gpu-x", None), ("gpu-1", 1), ("web-1", None), ("web", 0), ("nope", None)]
)
def test_a_wrong_name_is_refused(words, index):
    with pytest.raises(ValueError, match=words):
        parse(words, index)


def test_only_a_gpu_worker_can_do_without_a_guardian():
    with pytest.raises(CommandError, match=r"--once.*web has no guardian"):
        call_command("start", "web", "--once")


@pytest.mark.parametrize("process", [Process(role=Role.GPU, index=7), Process(role=Role.FLOWER)])
def test_a_name_leads_back_to_its_process(process):
    assert parse(process.name) == process


def test_every_role_has_an_entry():
    assert set(ENTRIES) == set(Role)


def test_a_second_process_of_the_same_name_waits_and_is_refused():
    first = run_files.take_lock("gpu-3")
    try:
        with pytest.raises(run_files.LockHeld, match="gpu-3"):
            run_files.take_lock("gpu-3", wait_seconds=0.1)
    finally:
        os.close(first)


def test_the_lock_is_free_after_its_holder():
    os.close(run_files.take_lock("gpu-3"))

    os.close(run_files.take_lock("gpu-3", wait_seconds=0))


def test_a_process_does_not_remove_its_successor_s_pidfile():
    run_files.write_pid("web", 100)
    run_files.write_pid("web", 200)

    run_files.remove_pid("web", 100)

    assert read_pid("web") == 200


def test_a_missing_pidfile_means_no_process():
    assert read_pid("web") is None


@pytest.mark.parametrize("content", ["", "\0\0\0", "0", "-1", "12a", "\x80"])
def test_a_torn_pidfile_means_no_process(content):
    pid_path("web").write_text(content, encoding="latin-1")

    assert read_pid("web") is None
