"""`gpuc submit`: what goes in, what is refused, and the wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from cluster_dashboard.console import waiting
from scheduler.jobs import lifecycle
from scheduler.jobs import submit as intake
from scheduler.models import Control, Job
from scheduler.rules.states import JobState, Priority, Reason, Source
from tests.build import queued
from tests.with_database.cli import Steps, press_ctrl_c, run

pytestmark = pytest.mark.usefixtures("control", "gpus", "no_broker")


@pytest.fixture
def no_broker(settings: Any, tmp_path: Any) -> None:
    """Nothing listens there."""
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What happens while the command waits, one thing after each look."""
    return lambda *steps: monkeypatch.setattr(waiting, "time", Steps(*steps))


def start(job_id: int, gpu: int = 0) -> None:
    assert isinstance(lifecycle.claim(job_id, 1, gpu=gpu, boot=f"boot-{gpu}"), lifecycle.Claimed)


def end(job_id: int, state: JobState = JobState.SUCCEEDED, **fields: Any) -> None:
    assert lifecycle.end(job_id, 1, state, **fields)


def start_and_end(state: JobState = JobState.SUCCEEDED, **fields: Any) -> None:
    for job in Job.objects.queued():
        start(job.id)
        end(job.id, state, **fields)


# --- what goes in ---------------------------------------------------------------------------------


def test_submitted_job_is_the_clis_with_what_was_asked_for() -> None:
    ran = run(
        "submit", "sleep", "--param", "seconds=2", "--priority", "HIGH", "--name", "mine",
        "--time-limit", 60, "--max-failures", 2,
    )  # fmt: skip

    job = Job.objects.get()
    assert (ran.code, ran.err, ran.out) == (0, "", f"submitted 1 sleep job: {job.id}\n")
    assert (job.name, job.priority, job.source, job.state) == ("mine", Priority.HIGH, Source.CLI, JobState.QUEUED)
    assert (job.params["seconds"], job.time_limit_seconds, job.max_failures) == (2, 60, 2)


@pytest.mark.parametrize(("written", "seconds"), [("300", 300), ("90s", 90), ("2d", 172_800), ("10:00:00", 36_000)])
def test_time_limit_is_seconds_or_a_time_with_its_unit(written: str, seconds: int) -> None:
    assert run("submit", "sleep", "--time-limit", written).code == 0

    assert Job.objects.get().time_limit_seconds == seconds


def test_many_jobs_are_printed_as_a_range() -> None:
    ran = run("submit", "sleep", "--count", 300)

    first, last = Job.objects.order_by("id").first(), Job.objects.order_by("id").last()
    assert ran.out == f"submitted 300 sleep jobs: {first.id}-{last.id}\n"
    assert Job.objects.count() == 300


def test_json_is_all_that_is_printed() -> None:
    ran = run("submit", "sleep", "--count", 2, "--json")

    assert ran.json == {"ids": list(Job.objects.order_by("id").values_list("id", flat=True))}
    assert ran.err == ""


@pytest.mark.parametrize(
    ("type_", "param", "kept"),
    [
        ("sleep", "seconds=0.5", 0.5),
        ("compute", "kernel=prime_sieve", "prime_sieve"),
        ("compute", 'kernel="prime_sieve"', "prime_sieve"),
        ("compute", "size=1e6", 1_000_000),
    ],
)
def test_value_is_json_if_it_parses_and_text_otherwise(type_: str, param: str, kept: Any) -> None:
    assert run("submit", type_, "--param", param).code == 0

    assert Job.objects.get().params[param.partition("=")[0]] == kept


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: TYPE"),
        (["nap"], "TYPE: unknown job type 'nap'; must be one of compute, fault_injection, matrix, sleep"),
        (["sleep", "--priority", "urgent"], "--priority: 'urgent' is not one of critical, high, normal, low"),
        (["sleep", "--count", "0"], "--count: '0' is not a whole number from 1 to 10000"),
        (["sleep", "--count", "x"], "--count: 'x' is not a whole number from 1 to 10000"),
        (
            ["sleep", "--time-limit", "1209601"],
            "--time-limit: '1209601' is not a time limit from 1 to 1209600 (14d) seconds, such as 300, 90s, 30m",
        ),
        (["sleep", "--time-limit", "15d"], "--time-limit: '15d' is not a time limit from 1 to 1209600 (14d)"),
        (["sleep", "--time-limit", "0"], "--time-limit: '0' is not a time limit from 1 to"),
        (["sleep", "--time-limit", "long"], "--time-limit: 'long' is not a time limit from 1 to"),
        (["sleep", "--max-failures", "0"], "--max-failures: '0' is not a whole number from 1 to 100"),
        (["sleep", "--name", "two words"], "--name: accepts 1 to 100 characters"),
        (["sleep", "--param", "seconds"], "--param: 'seconds' is not NAME=VALUE"),
        (["sleep", "--param", "seconds=-1"], "--param seconds: must be a number from 0 to 86400"),
        (["sleep", "--param", "seconds=long"], "--param seconds: must be a number from 0 to 86400"),
        (["sleep", "--param", "seconds=true"], "--param seconds: must be a number from 0 to 86400"),
        (["sleep", "--param", "seconds=NaN"], "--param seconds: must be a number from 0 to 86400"),
        (["sleep", "--param", "seconds=1e999"], "--param seconds: must be a number from 0 to 86400"),
        (["sleep", "--param", f"seconds={'[' * 100_000}"], "--param seconds: must be a number from 0 to 86400"),
        (["sleep", "--param", "secs=1"], "--param secs: is unknown; must be one of seconds, memory_mib, load"),
        (["sleep", "--param", "load=1", "--param", "load=1"], "--param load: is given twice"),
        (["sleep", "--param", "memory_mib=500000"], "--param: it needs 500000 MiB of GPU memory"),
        (["compute", "--param", "kernel=pi"], "--param kernel: must be one of monte_carlo_pi, prime_sieve, hash_chain"),
        (["compute", "--param", 'kernel="a\\u0000"'], "--param kernel: must be text without NUL"),
        (["sleep", "--param", "\x1b[31mred=1"], r"--param \x1b[31mred: is unknown"),
        (["sleep", "--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_wrong_input_is_one_line_that_names_field_and_accepted_values(arguments: list[str], words: str) -> None:
    ran = run("submit", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.error_line.startswith("gpuc submit: ")
    assert words in ran.error_line
    assert "\x1b" not in ran.err
    assert not Job.objects.exists()


def test_taken_name_among_many_leaves_nothing_behind() -> None:
    queued(name="mine-300")

    ran = run("submit", "sleep", "--count", 300, "--name", "mine")

    assert (ran.code, ran.error_line) == (2, "gpuc submit: --name: 'mine-300' is taken; names are unique")
    assert Job.objects.count() == 1


class Away:
    """The database fails from the given statement on; 0: at once."""

    def __init__(self, after: int = 0, *, times: int = 10**9) -> None:
        self._left, self._times = after, times

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self._left -= 1
        if self._left < 0 and self._times > 0:
            self._times -= 1
            raise OperationalError("server closed the connection\nunexpectedly")
        return execute(*arguments)


def test_database_away_is_one_line() -> None:
    with connection.execute_wrapper(Away()):
        ran = run("submit", "sleep")

    assert (ran.code, ran.out) == (3, "")
    assert ran.error_line == "gpuc submit: the database is unavailable: server closed the connection"


def test_database_that_holds_no_cluster_says_what_to_do() -> None:
    Control.objects.all().delete()

    ran = run("submit", "sleep")

    assert (ran.code, "start the cluster first" in ran.error_line) == (3, True)
    assert not Job.objects.exists()


def test_database_that_is_not_there_is_said_and_not_made(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(tmp_path)
        elsewhere.setitem(connection.settings_dict, "NAME", "not-there")

        ran = run("submit", "sleep")

    words = {"sqlite": "there is no database at not-there", "postgresql": "the database is unavailable"}
    assert (ran.code, ran.out) == (3, "")
    assert words[connection.vendor] in ran.error_line
    assert not list(tmp_path.iterdir())


def test_jobs_that_are_in_are_named_when_the_database_goes_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    insert_really, calls = intake.insert, []

    def insert_once(requests: Any, **options: Any) -> Any:
        calls.append(requests)
        if len(calls) > 1:
            raise OperationalError("database is locked")
        return insert_really(requests, **options)

    monkeypatch.setattr(intake, "insert", insert_once)

    ran = run("submit", "sleep", "--count", 300, "--json")

    ids = list(Job.objects.order_by("id").values_list("id", flat=True))
    assert (ran.code, ran.json) == (3, {"ids": ids})
    assert f"only 250 of 300 jobs are in: {ids[0]}-{ids[-1]}" in ran.err


# --- the wait -------------------------------------------------------------------------------------


def test_wait_ends_with_0_when_all_succeeded(story: Any) -> None:
    story(lambda: None, start_and_end)

    ran = run("submit", "sleep", "--count", 2, "--wait")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[1:] == ["2 succeeded"]


def test_wait_ends_with_1_when_one_failed_and_says_why(story: Any) -> None:
    def one_fails() -> None:
        good, bad = Job.objects.order_by("id")
        for job, state in ((good, JobState.SUCCEEDED), (bad, JobState.FAILED)):
            start(job.id)
            end(job.id, state, reason=Reason.JOB_ERROR, error="it broke\n\x1b[2J[red]for good")

    story(one_fails)

    ran = run("submit", "sleep", "--count", 2, "--wait")

    assert (ran.code, ran.out.splitlines()[1:]) == (1, ["1 succeeded, 1 failed"])
    bad = Job.objects.get(state=JobState.FAILED)
    assert ran.error_line == rf"job {bad.id} failed (job_error): it broke\n\x1b[2J[red]for good"


def test_wait_ends_with_1_when_a_job_was_cancelled(story: Any) -> None:
    story(lambda: lifecycle.cancel(Job.objects.get().id, actor="a test"))

    assert run("submit", "sleep", "--wait").code == 1


def test_wait_with_json_gives_each_jobs_result(story: Any) -> None:
    story(lambda: start_and_end(result={"value": 3}))

    ran = run("submit", "sleep", "--wait", "--json")

    job = Job.objects.get()
    assert (ran.code, ran.err, ran.json["ids"]) == (0, "", [job.id])
    assert ran.json["jobs"] == [
        {
            "id": job.id,
            "name": job.name,
            "state": "succeeded",
            "reason": "",
            "gpu": 0,
            "attempt": 1,
            "result": {"value": 3},
            "error": "",
        }
    ]


def test_ctrl_c_leaves_the_jobs_alone_and_says_so(story: Any) -> None:
    def one_starts() -> None:
        start(Job.objects.order_by("id").first().id)

    story(one_starts, press_ctrl_c)

    ran = run("submit", "sleep", "--count", 2, "--wait")

    first, second = Job.objects.order_by("id")
    assert (first.state, second.state, first.cancel_requested) == (JobState.RUNNING, JobState.QUEUED, False)
    assert ran.code == 130
    assert ran.error_line == (f"stopped waiting; the jobs go on. To end them: gpuc cancel {first.id}-{second.id}")


def test_ctrl_c_with_json_still_prints_the_ids(story: Any) -> None:
    story(press_ctrl_c)

    ran = run("submit", "sleep", "--wait", "--json")

    assert (ran.code, [job["state"] for job in ran.json["jobs"]]) == (130, ["queued"])


def test_database_that_is_away_for_a_moment_does_not_end_the_wait(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    look_really, looks = waiting._look, []

    def look(pending: Any) -> Any:
        looks.append(pending)
        if len(looks) == 1:
            raise OperationalError("the database system is starting up")
        return look_really(pending)

    monkeypatch.setattr(waiting, "_look", look)
    story(start_and_end)

    assert run("submit", "sleep", "--wait").code == 0
    assert len(looks) == 2


def test_database_that_stays_away_ends_the_wait(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(_: Any) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(waiting, "_look", look)
    patience = int(waiting.PATIENCE_SECONDS / waiting.LOOK_SECONDS) + 2
    story(*[lambda: None] * patience)

    ran = run("submit", "sleep", "--wait")

    assert (ran.code, ran.error_line) == (3, "gpuc submit: the database is unavailable: connection refused")


def test_job_that_left_the_history_is_not_waited_for(story: Any) -> None:
    story(lambda: Job.objects.all().delete())

    ran = run("submit", "sleep", "--wait")

    assert (ran.code, ran.out.splitlines()[1:]) == (1, ["1 removed"])


def test_bar_on_a_terminal_counts_the_jobs(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    story(start_and_end)

    ran = run("submit", "sleep", "--count", 3, "--wait", terminal=True)

    assert "0/3" in ran.err
    assert "3 queued" in ran.err
    assert "3/3" in ran.err
    assert "3 succeeded" in ran.out


def test_no_bar_stands_between_json(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    story(start_and_end)

    ran = run("submit", "sleep", "--wait", "--json", terminal=True)

    assert (json.loads(ran.out)["ids"], ran.err) == ([Job.objects.get().id], "")


def test_help_shows_the_types_with_their_parameters() -> None:
    ran = run("submit", "--help")

    assert ran.code == 0
    assert "seconds=5.0  memory_mib=4096" in ran.out
    assert "gpuc submit sleep" in ran.out
    assert "--settings" not in ran.out
