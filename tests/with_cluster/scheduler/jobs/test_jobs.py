"""Jobs of every type end as they should, and as people want them to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.api import assert_ended_once, events_of, story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.live import LiveView, live_view
from tests.with_cluster.unix_session import is_alive

GPU_COUNT = 2
#: Holds a package that offers the job type `grandchildren`, as an installed package would.
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "tests" / "with_cluster" / "plugin")}


@pytest.fixture
def live(cluster: Cluster) -> Iterator[LiveView]:
    with live_view(cluster) as view:
        yield view


@pytest.mark.parametrize(
    ("type_", "params", "expected"),
    [
        ("sleep", {"seconds": 0.2}, {}),
        ("compute", {"kernel": "monte_carlo_pi", "size": 20_000}, {"verified": True}),
        ("compute", {"kernel": "prime_sieve", "size": 1_000}, {"verified": True, "value": 168}),
        ("compute", {"kernel": "hash_chain", "size": 1_000}, {"verified": True}),
        ("matrix", {"size": 64, "repetitions": 2}, {"verified": True, "device": "cpu", "repetitions": 2}),
        ("fault_injection", {"probability": 0, "after_seconds": 0}, {"survived": True}),
    ],
)
def test_job_succeeds_with_its_result(
    cluster: Cluster, type_: str, params: dict[str, Any], expected: dict[str, Any]
) -> None:
    job = cluster.api.wait_for_job(cluster.api.submit_one(type_, params=params))

    assert job["state"] == "succeeded", story(job)
    assert job["result"].items() >= expected.items()
    assert [event["kind"] for event in job["events"]] == ["submitted", "started", "succeeded"]


@pytest.mark.parametrize(
    ("mode", "reason", "words"),
    [("raise", "job_error", "fails on purpose"), ("out_of_memory", "out_of_memory", "out of memory")],
)
def test_job_that_fails_by_its_own_doing_is_not_tried_again(
    cluster: Cluster, mode: str, reason: str, words: str
) -> None:
    job = cluster.api.wait_for_job(cluster.api.submit_one("fault_injection", params={"mode": mode, "after_seconds": 0}))

    assert (job["state"], job["reason"], job["failures"]) == ("failed", reason, 0), story(job)
    assert words in job["error"]
    assert len(events_of(job, "started")) == 1


@pytest.mark.parametrize(("mode", "max_failures"), [("exit", 2), ("kill", 3)])
def test_job_that_kills_its_process_is_started_as_often_as_it_may_fail(
    cluster: Cluster, mode: str, max_failures: int
) -> None:
    params = {"mode": mode, "after_seconds": 0}
    poison = cluster.api.submit_one("fault_injection", params=params, max_failures=max_failures)
    others = cluster.api.submit(count=10, params={"seconds": 0.1})

    job = cluster.api.wait_for_job(poison)

    assert (job["state"], job["reason"]) == ("failed", "exhausted"), story(job)
    assert len(events_of(job, "started")) == job["failures"] == max_failures, story(job)
    assert_ended_once(job)
    unhurt = cluster.api.wait_for_jobs(others)
    assert {(other["state"], other["attempt"]) for other in unhurt} == {("succeeded", 1)}


@pytest.mark.parametrize(
    ("type_", "params"),
    [("sleep", {"seconds": 600}), ("fault_injection", {"mode": "hang", "after_seconds": 0})],
    ids=["busy", "ignores SIGTERM"],
)
def test_job_over_its_time_limit_is_killed(cluster: Cluster, type_: str, params: dict[str, Any]) -> None:
    job = cluster.api.wait_for_job(cluster.api.submit_one(type_, params=params, time_limit_seconds=1))

    assert (job["state"], job["reason"]) == ("failed", "timed_out"), story(job)
    assert "1 s" in job["error"]
    assert len(events_of(job, "started")) == 1
    assert_ended_once(job)


def test_a_job_that_is_killed_at_its_limit_is_logged_once(cluster: Cluster) -> None:
    job = cluster.api.wait_for_job(cluster.api.submit_one(params={"seconds": 600}, time_limit_seconds=1))
    # The next job on the same GPU begins after whatever is still to be said of this one.
    gpu = job["gpu"]
    later = cluster.api.wait_for_jobs(cluster.api.submit(count=4))

    log = Path(cluster.state_dir, "log", f"gpu-{gpu}.log").read_text()
    assert {each["state"] for each in later} == {"succeeded"}
    assert log.count(f"job_killed job={job['id']} ") == 1


def test_progress_is_shown_while_a_job_runs(cluster: Cluster, live: LiveView) -> None:
    job_id = cluster.api.submit_one(params={"seconds": 30})

    def progress(snapshot: dict[str, Any], above: float = 0.0) -> float | None:
        shares = [gpu["job"]["progress"] for gpu in snapshot["gpus"] if gpu["job"] and gpu["job"]["id"] == job_id]
        return next((share for share in shares if share is not None and above < share < 1), None)

    first = live.wait_for(progress)

    assert live.wait_for(lambda snapshot: progress(snapshot, above=first)) > first


def test_cancelled_job_that_waits_never_starts(cluster: Cluster) -> None:
    running = cluster.api.submit(count=GPU_COUNT, params={"seconds": 600})
    for job_id in running:
        cluster.api.wait_for_job(job_id, "running")
    waiting = cluster.api.submit_one()

    outcome = cluster.api.cancel(waiting)

    assert outcome == "cancelled"
    job = cluster.api.job(waiting)
    assert (job["state"], job["reason"]) == ("cancelled", "cancel")
    for job_id in running:
        cluster.api.cancel(job_id)
    # Both GPUs have gone past its hint when a job behind it ends.
    cluster.api.wait_for_jobs(cluster.api.submit(count=10))
    assert [event["kind"] for event in cluster.api.job(waiting)["events"]] == ["submitted", "cancelled"]


def test_cancelled_job_that_runs_is_killed_and_its_gpu_takes_the_next(cluster: Cluster) -> None:
    job_id = cluster.api.submit_one("fault_injection", params={"mode": "hang", "after_seconds": 0})
    gpu = cluster.api.wait_for_event(job_id, "started")["gpu"]
    child = cluster.child_pid(gpu)

    outcome = cluster.api.cancel(job_id)

    assert outcome == "requested"
    job = cluster.api.wait_for_job(job_id)
    assert (job["state"], job["reason"], job["failures"]) == ("cancelled", "cancel", 0), story(job)
    assert_ended_once(job)
    assert not is_alive(child)
    next_jobs = cluster.api.wait_for_jobs(cluster.api.submit(count=10, params={"seconds": 0.2}))
    assert {next_job["state"] for next_job in next_jobs} == {"succeeded"}
    assert gpu in {next_job["gpu"] for next_job in next_jobs}


def test_processes_that_a_job_started_end_with_it(cluster: Cluster, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    job_id = cluster.api.submit_one("grandchildren", params={"pid_file": str(pid_file)})
    wait_until(pid_file.exists, 10, lambda: story(cluster.api.job(job_id)))
    grandchild = int(pid_file.read_text())
    assert is_alive(grandchild)

    cluster.api.cancel(job_id)

    assert cluster.api.wait_for_job(job_id)["state"] == "cancelled"
    wait_until(lambda: not is_alive(grandchild), 5, lambda: f"{grandchild} ends\n{cluster.shown()}")
