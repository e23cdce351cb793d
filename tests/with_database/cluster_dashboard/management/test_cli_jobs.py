"""`gpuc jobs`, `job`, `cancel` and `rate`: what they show, change and refuse."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest
from django.db import OperationalError, connection

from cluster_dashboard.api import broker
from scheduler.jobs import lifecycle
from scheduler.models import ClusterEvent, Control, Job
from scheduler.rules.states import JobState, Reason
from tests.build import ended, queued, reread, running, submit
from tests.with_database.cli import run

pytestmark = pytest.mark.usefixtures("control", "gpus", "no_broker")

ME = f"cli ({pwd.getpwuid(os.getuid()).pw_name})"


@pytest.fixture
def no_broker(settings: Any, tmp_path: Any) -> Any:
    """Nothing listens there; the process-wide client is made anew."""
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"
    broker.client.cache_clear()
    yield
    broker.client.cache_clear()


def failed(**fields: Any) -> Job:
    job = running(**fields)
    assert lifecycle.end(job.id, 1, JobState.FAILED, reason=Reason.JOB_ERROR, error="first\n\x1b]0;title\a[bold]x[/]")
    return reread(job)


# --- jobs -----------------------------------------------------------------------------------------


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()[1:]]


def test_jobs_are_listed_newest_first_up_to_the_limit() -> None:
    ids = [job.id for job in submit(3)]

    ran = run("jobs", "--limit", 2)

    assert [int(row[0]) for row in rows(ran.out)] == ids[:0:-1]
    assert (ran.code, ran.error_line) == (0, f"there are more: --before {ids[1]}, or a larger --limit")
    assert [int(row[0]) for row in rows(run("jobs", "--before", ids[1]).out)] == [ids[0]]


def test_jobs_are_filtered_by_state_type_and_priority() -> None:
    wanted = running(priority="low")
    queued(priority="low")
    queued(type="matrix", params={})

    ran = run("jobs", "--state", "running", "--type", "sleep", "--priority", "low")

    ((job_id, name, type_, priority, state, gpu, *_),) = rows(ran.out)
    assert (job_id, name, type_, priority, state, gpu) == (str(wanted.id), wanted.name, "sleep", "low", "running", "0")


def test_json_has_the_fields_of_the_api() -> None:
    job = ended(JobState.SUCCEEDED)

    ran = run("jobs", "--json")

    (shown,) = ran.json["jobs"]
    assert (shown["id"], shown["state"], shown["gpu"]) == (job.id, "succeeded", 0)
    assert (ran.json["next_before"], ran.err) == (None, "")


def test_type_of_jobs_of_the_past_is_still_a_filter() -> None:
    old = queued()
    Job.objects.filter(id=old.id).update(type="retired")

    assert [job["id"] for job in run("jobs", "--type", "retired", "--json").json["jobs"]] == [old.id]


def test_no_jobs_is_said() -> None:
    ran = run("jobs")

    assert (ran.code, ran.out, ran.error_line) == (0, "", "no such jobs")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--state", "gone"], "--state: 'gone' is not one of queued, running, succeeded, failed, cancelled"),
        (["--priority", "x"], "--priority: 'x' is not one of critical, high, normal, low"),
        (["--type", "nap"], "--type: unknown job type 'nap'; must be one of compute"),
        (["--type", "\udcff"], "--type: must be text without"),
        (["--limit", "0"], "--limit: '0' is not a whole number from 1 to 10000"),
        (["--before", "9" * 30], "is not a whole number from 1 to 9223372036854775807"),
    ],
)
def test_wrong_filter_is_one_line(arguments: list[str], words: str) -> None:
    ran = run("jobs", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert words in ran.error_line


# --- job ------------------------------------------------------------------------------------------


def test_job_tells_its_story_in_order() -> None:
    job = running(gpu=2, name="mine")
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED, detail="it was killed")

    ran = run("job", job.id)

    story = [line.split() for line in ran.out.splitlines() if line.startswith("  20")]
    assert [(row[4], row[5], row[6]) for row in story] == [
        ("submitted", "1", "-"),
        ("started", "1", "2"),
        ("requeued", "1", "2"),
    ]
    assert "child_died (charged)  it was killed" in ran.out
    assert ran.out.splitlines()[0] == f"job {job.id} mine queued"


def test_job_shows_parameters_and_result() -> None:
    job = running()
    lifecycle.end(job.id, 1, JobState.SUCCEEDED, result={"value": 3.14})

    out = run("job", job.id).out

    assert '"memory_mib": 4096' in out
    assert '"value": 3.14' in out


def test_job_is_found_by_its_name() -> None:
    queued(name="mine")
    numbered = queued(name="20261124")

    assert run("job", "mine").out.startswith("job ")
    assert run("job", "20261124", "--json").json["id"] == numbered.id


def test_job_as_json_has_events_and_error() -> None:
    job = failed()

    shown = run("job", job.id, "--json").json

    assert [event["kind"] for event in shown["events"]] == ["submitted", "started", "failed"]
    assert (shown["reason"], shown["error"]) == ("job_error", job.error)


@pytest.mark.parametrize("terminal", [False, True])
def test_error_of_a_job_cannot_act_on_the_terminal(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    job = failed()
    Job.objects.filter(id=job.id).update(name="\x1b[2J[red]")

    shown = run("job", job.id, terminal=terminal)
    listed = run("jobs", terminal=terminal)

    assert r"\x1b]0;title\x07[bold]x[/]" in shown.out
    assert r"\x1b[2J[red]" in listed.out
    assert not [word for word in ("\x1b]", "\x1b[2J", "\a") if word in shown.out + listed.out]


@pytest.mark.parametrize("wanted", ["77", "0", "-", "no-such-name", "9" * 30, "\udcff", "\x1b[31m"])
def test_unknown_job_is_one_line(wanted: str) -> None:
    ran = run("job", wanted)

    assert (ran.code, ran.out) == (1, "")
    assert ran.error_line.startswith("gpuc job: there is no job ")
    assert "\x1b" not in ran.err


def test_database_away_is_one_line() -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("the server is gone")

    with connection.execute_wrapper(away):
        for command in (("jobs",), ("job", 1), ("cancel", 1), ("rate", 5), ("status",)):
            ran = run(*command)

            assert (ran.code, ran.out) == (3, ""), command
            assert ran.error_line == f"gpuc {command[0]}: the database is unavailable: the server is gone"


# --- cancel ---------------------------------------------------------------------------------------


def test_waiting_job_is_cancelled_and_a_running_one_asked_to_stop() -> None:
    first, second, third = running(), queued(), queued()

    ran = run("cancel", f"{first.id}-{second.id}", third.id)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"jobs {second.id}-{third.id}: cancelled",
        f"job {first.id}: running, its worker stops it now",
    ]
    assert reread(first).cancel_requested
    assert reread(third).state == JobState.CANCELLED


def test_cancel_names_the_unix_user() -> None:
    job = queued()

    run("cancel", job.id)

    assert job.events.get(kind="cancelled").detail == f"by {ME}"


def test_job_that_had_ended_makes_the_exit_code_1() -> None:
    job = ended(JobState.SUCCEEDED)

    ran = run("cancel", job.id, "--json")

    assert (ran.code, ran.json) == (1, {"jobs": [{"id": job.id, "outcome": "already_ended"}]})


def test_unknown_id_among_others_cancels_nothing() -> None:
    job = queued()

    ran = run("cancel", job.id, 9998, 9999)

    assert (ran.code, ran.out) == (1, "")
    assert ran.error_line == "gpuc cancel: there is no job 9998-9999; 1 other job left as it is"
    assert reread(job).state == JobState.QUEUED


@pytest.mark.parametrize("wrong", ["x", "0", "3-1", "1-", "1-20000", "1.5", "--all"])
def test_wrong_id_is_refused(wrong: str) -> None:
    job = queued()

    ran = run("cancel", job.id, wrong)

    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert reread(job).state == JobState.QUEUED


# --- rate -----------------------------------------------------------------------------------------


def rate_now() -> tuple[float, str, bool]:
    return Control.objects.values_list("rate_per_minute", "preset", "paused").get()


@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        ("30", (30, "", False)),
        ("0.5", (0.5, "", False)),
        ("high", (25, "high", False)),
        ("MAXIMUM", (50, "maximum", False)),
        ("pause", (12, "normal", True)),
    ],
)
def test_rate_takes_a_number_a_preset_or_pause(word: str, becomes: tuple[float, str, bool]) -> None:
    ran = run("rate", word)

    assert (ran.code, ran.err, rate_now()) == (0, "", becomes)
    assert ran.out.startswith(f"{becomes[0]:g} jobs a minute")


def test_resume_ends_the_pause() -> None:
    Control.objects.update(paused=True)

    assert run("rate", "resume", "--json").json == {"rate_per_minute": 12, "preset": "normal", "paused": False}
    assert not rate_now()[2]


def test_change_of_the_rate_leaves_an_audit_event() -> None:
    run("rate", "high")

    event = ClusterEvent.objects.get()
    assert (event.actor, event.message) == (ME, f"Load set to High Load, 25 jobs / min, by {ME}")


def test_rate_alone_shows_and_changes_nothing() -> None:
    ran = run("rate")

    assert (ran.code, ran.out) == (0, "12 jobs a minute (normal)\n")
    assert not ClusterEvent.objects.exists()


@pytest.mark.parametrize("word", ["ludicrous", "0", "-3", "100001", "nan", "inf", "1e999", "", "12,5"])
def test_wrong_rate_is_one_line_with_the_range(word: str) -> None:
    ran = run("rate", word)

    assert (ran.code, ran.out) == (2, "")
    assert ran.error_line.startswith("gpuc rate: RATE: ")
    assert "jobs a minute from 0.1 to 100000" in ran.error_line
    assert rate_now() == (12, "normal", False)
