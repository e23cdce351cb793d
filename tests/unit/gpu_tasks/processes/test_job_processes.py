"""What a job starts is found and ended, also what left its group or lost its parent. Each in a program of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_tasks.processes import job_processes, proc
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.unix_session import is_alive

#: A child of the program starts a process that leads its own session, by way of a third that ends at once.
PROGRAM = """
import os, subprocess, sys, time
import django
django.setup()
from gpu_tasks.processes import job_processes, proc
job_processes.adopt_orphans()
escape = '''
import subprocess
print(subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL).pid)
'''
known = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
lost = int(subprocess.run([sys.executable, "-c", escape], stdout=subprocess.PIPE, text=True, check=True).stdout)
left = job_processes.end_children(lambda: {known.pid})
print(lost, known.pid, left, known.poll(), flush=True)
sys.stdin.read()
"""


def run_program() -> tuple[subprocess.Popen[str], list[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=ROOT,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()


def test_orphans_are_ended_and_known_children_are_not() -> None:
    process, (lost, known, left, exit_code) = run_program()
    try:
        assert not is_alive(int(lost))
        assert (is_alive(int(known)), left, exit_code) == (True, "[]", "None")
    finally:
        process.communicate("")
        for pid in filter(is_alive, (int(known), int(lost))):
            os.kill(pid, signal.SIGKILL)


def test_an_orphan_of_a_child_that_ended_after_the_list_was_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as ended, subprocess.Popen(["sleep", "600"]) as orphan:
        wait_until(lambda: job_processes.born_at(ended.pid) is None, 5, "the parent has ended")
        lists = iter([[ended.pid], [orphan.pid], []])
        monkeypatch.setattr(proc, "children_of", lambda _: next(lists, []))

        assert job_processes.end_children(set) == []

        assert not is_alive(orphan.pid)


def test_a_process_that_has_ended_has_no_birth() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        born = job_processes.born_at(process.pid)
        process.kill()
        wait_until(lambda: job_processes.born_at(process.pid) is None, 5, "a zombie has ended")

    assert isinstance(born, int)


def test_noted_processes_are_ended_and_others_that_got_their_pid_are_not(tmp_path: Path) -> None:
    file = tmp_path / "gpu-0.processes"
    with subprocess.Popen(["sleep", "600"]) as left, subprocess.Popen(["sleep", "600"]) as other:
        job_processes.Record(file).note([left.pid, other.pid])
        older = job_processes.born_at(other.pid)
        file.write_text(file.read_text().replace(f'"{other.pid}": {older}', f'"{other.pid}": {older - 1}'))

        assert job_processes.Record(file).end_left_overs() == []

        assert left.wait(5) == -9
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("content", [None, "", "[]", '{"a": 1}', "null", "12", '{"7": null}', '{"7": 1', "\0\0"])
def test_a_record_that_cannot_be_read_ends_nothing(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "gpu-0.processes"
    if content is not None:
        file.write_text(content)

    assert job_processes.Record(file).end_left_overs() == []
