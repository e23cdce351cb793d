"""Lines of all processes: decorated, kept in rotated files, never waited for."""

import errno
import json
import os

import pytest

from cluster_dashboard.operations.supervisor.log_file import KEPT_FILES, LogFile
from cluster_dashboard.operations.supervisor.output import Output
from cluster_dashboard.operations.supervisor.terminal import MAX_WAITING_LINES, Terminal, decorate


@pytest.fixture
def pipe():
    """(read end, a Terminal on the write end)."""
    reading, writing = os.pipe()
    yield reading, Terminal(descriptor=writing)
    for each in (reading, writing):
        try:
            os.close(each)
        except OSError:
            continue  # the test closed it


def test_a_line_stands_after_its_process_s_name():
    assert decorate("gpu-3", "12:00:00.000 INFO    claimed job=7", color=False) == (
        "gpu-3     | 12:00:00.000 INFO    claimed job=7"
    )


@pytest.mark.parametrize(("level", "color"), [("WARNING", "\x1b[33m"), ("ERROR  ", "\x1b[31m")])
def test_a_line_has_the_colour_of_its_level(level, color):
    line = f"12:00:00.000 {level} claimed job=7"

    assert decorate("gpu-3", line, color=True).endswith(f"| {line}\x1b[0m".replace("| ", f"|\x1b[0m {color}"))


def test_gpu_workers_share_the_colour_of_their_role():
    first, second = (decorate(name, "", color=True).split("gpu-")[0] for name in ("gpu-0", "gpu-7"))

    assert first == second != ""


def test_a_terminal_that_nobody_reads_holds_nobody_up_and_gets_the_newest_lines(pipe):
    reading, terminal = pipe
    for n in range(10 * MAX_WAITING_LINES):
        terminal.print(f"line {n:06} {'x' * 60}")

    os.set_blocking(reading, False)
    seen = b""
    while terminal.has_waiting:
        seen += os.read(reading, 1_000_000)
        terminal.flush()
    seen += os.read(reading, 1_000_000)

    lines = seen.decode().splitlines()
    assert lines[-1].startswith(f"line {10 * MAX_WAITING_LINES - 1:06}")
    assert all(line.startswith("line ") for line in lines)


def test_a_terminal_that_is_gone_is_forgotten(pipe):
    reading, terminal = pipe
    os.close(reading)

    terminal.print("into the void")

    assert not terminal.has_waiting


def test_a_log_file_keeps_its_newest_part(tmp_path):
    log = LogFile(path=tmp_path / "web.log", max_bytes=1000)
    for n in range(500):
        log.write(f"line {n}")
    log.close()

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["web.log", *(f"web.log.{n}" for n in range(1, KEPT_FILES))]
    kept = "".join((tmp_path / name).read_text() for name in reversed(files)).splitlines()
    assert kept == [f"line {n}" for n in range(500 - len(kept), 500)]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert all((tmp_path / name).stat().st_size > 980 for name in files[1:])


def test_a_log_file_that_was_full_before_a_restart_is_rotated_once(tmp_path):
    (tmp_path / "web.log").write_text("x" * 999 + "\n")
    log = LogFile(path=tmp_path / "web.log", max_bytes=1000)
    for n in range(3):
        log.write(f"line {n}")
    log.close()

    assert (tmp_path / "web.log").read_text() == "line 0\nline 1\nline 2\n"
    assert (tmp_path / "web.log.1").read_text() == "x" * 999 + "\n"
    assert not (tmp_path / "web.log.2").exists()


def test_a_line_that_the_full_disk_cut_off_spoils_no_other(tmp_path, monkeypatch):
    write, room = os.write, [4, None, None]

    def write_some(descriptor, data):
        size = room.pop(0) if room else len(data)
        if size is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:size])

    log = LogFile(path=tmp_path / "web.log")
    monkeypatch.setattr(os, "write", write_some)
    for line in ("cut off", "lost", "whole", "last"):
        log.write(line)
    monkeypatch.undo()
    log.close()

    assert (tmp_path / "web.log").read_text() == "cut \nwhole\nlast\n"


def test_a_log_file_goes_on_after_a_restart(tmp_path):
    for text in ("before", "after"):
        log = LogFile(path=tmp_path / "web.log")
        log.write(text)
        log.close()

    assert (tmp_path / "web.log").read_text() == "before\nafter\n"


def test_as_json_every_line_is_an_object_that_names_its_process(pipe, tmp_path):
    reading, terminal = pipe
    output = Output(folder=tmp_path, json=True, terminal=terminal)
    output.line("gpu-0", '{"event": "claimed", "component": "gpu-0"}')
    output.line("broker", "# Ready to accept connections")

    first, second = map(json.loads, os.read(reading, 10_000).splitlines())

    assert first == {"event": "claimed", "component": "gpu-0"}
    assert (second["component"], second["event"]) == ("broker", "# Ready to accept connections")
