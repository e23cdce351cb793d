"""`gpuc events`: order, filters, new events, and words that are not known."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from rich.cells import cell_len

from cluster_dashboard.management.commands import events
from scheduler.models import ClusterEvent
from tests.with_database.cli import Steps, press_ctrl_c, run

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.fixture(autouse=True)
def _no_other_event(control: object) -> None:
    ClusterEvent.objects.all().delete()


def event(message: str, *, kind: str = "fault", gpu: int | None = None) -> ClusterEvent:
    return ClusterEvent.objects.create(kind=kind, gpu=gpu, message=message)


def test_the_newest_are_printed_oldest_first() -> None:
    for n in range(4):
        event(f"number {n}")

    ran = run("events", "--limit", 2)

    assert [line.rpartition("  ")[2] for line in ran.out.splitlines()] == ["number 2", "number 3"]


def test_filters_by_kind_gpu_and_age() -> None:
    event("a fault", gpu=1)
    event("a control", kind="control")
    old = event("long ago", gpu=1)
    ClusterEvent.objects.filter(id=old.id).update(at=Now() - timedelta(hours=2))

    assert "a control" not in run("events", "--kind", "fault").out
    assert run("events", "--gpu", 1, "--since", "30m").out.splitlines()[-1].endswith("a fault")
    assert "long ago" not in run("events", "--since", "30m").out


def test_a_terminal_wraps_a_long_message_and_a_pipe_keeps_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    event("GPU 1 is quarantined: " + "\x1b[2J 温度 too hot " * 10 + "end")

    shown = run("events", terminal=True).out
    piped = run("events").out

    assert len(shown.splitlines()) > 1
    assert max(map(cell_len, shown.splitlines())) <= 80
    assert shown.rstrip().endswith("end")
    assert len(piped.splitlines()) == 1
    assert "\x1b" not in shown + piped


def test_json_is_one_object_a_line() -> None:
    event("first", gpu=0)
    event("second")

    found = [json.loads(line) for line in run("events", "--json").out.splitlines()]

    assert [(each["message"], each["gpu"]) for each in found] == [("first", 0), ("second", None)]
    assert set(found[0]) == {"id", "at", "kind", "gpu", "actor", "message", "before", "after"}


def test_follow_prints_each_new_event_once_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    event("before")
    steps = Steps(lambda: event("new"), lambda: None, lambda: event("newer", gpu=1), press_ctrl_c)
    monkeypatch.setattr(events, "time", steps)

    ran = run("events", "--follow")

    assert [line.rpartition("  ")[2] for line in ran.out.splitlines()] == ["before", "new", "newer"]
    assert ran.code == 130


def test_a_message_cannot_act_on_the_terminal() -> None:
    event("clear\x1b[2J\nGPU 0: all is well")

    ran = run("events")

    assert len(ran.out.splitlines()) == 1
    assert "\\x1b[2J\\n" in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kind", "fualt"), "--kind: 'fualt' is unknown; accepted: fault"),
        (("--gpu", "77"), "--gpu: 77 is unknown; accepted: 0, 1"),
        (("--since", "yesterday"), "neither an ISO time nor an age"),
        (("--limit", "0"), "whole number from 1 to 10000"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_accepted_ones(arguments: tuple[str, ...], words: str) -> None:
    event("a fault")

    ran = run("events", *arguments)

    assert ran.code == 2
    assert words in ran.error_line
