"""Faults in compose: a worker is asked through Redis, and carries them out on itself."""

from __future__ import annotations

import json

import pytest

from tests.with_cluster.api import Api, assert_ended_once, events_of, story
from tests.with_docker.project import Project, note_figure


@pytest.mark.parametrize(
    ("fault", "seconds", "reasons"),
    [
        ("child_killed", "1", {"child_died"}),
        # Whoever sees it first: the worker's next boot, or the reaper.
        ("worker_killed", "1", {"worker_restarted", "worker_died"}),
        ("worker_hung", "25", {"worker_died"}),
    ],
)
def test_a_fault_that_a_worker_carries_out_on_itself_costs_one_failure(
    project: Project, api: Api, fault: str, seconds: str, reasons: set[str]
) -> None:
    job_id = api.submit_one("sleep", params={"seconds": 10})
    gpu = api.wait_for_event(job_id, "started")["gpu"]

    project.manage("inject", fault, "--gpu", str(gpu), "--seconds", seconds)

    job = api.wait_for_job(job_id, seconds=120)
    assert (job["state"], job["failures"]) == ("succeeded", 1), story(job)
    assert {event["reason"] for event in events_of(job, "requeued")} <= reasons, story(job)
    assert_ended_once(job)


def test_the_deaths_of_workers_are_played_and_every_promise_is_kept(project: Project, api: Api) -> None:
    names = ("kill_child", "kill_worker", "kill_all_workers", "pause_worker", "pause_worker_kill_successor")

    played = project.compose(
        "exec", "-T", "web", "python", "manage.py", "chaos", *names, "--json", seconds=300, check=False
    )

    cards = json.loads(played.stdout)["scorecards"]
    assert [(card["scenario"], card["verdict"], card["reasons"]) for card in cards] == [
        (name, "pass", []) for name in names
    ]
    for card in cards:
        note_figure(card["scenario"], detected_s=card["detected_seconds"], elsewhere_s=card["recovered_seconds"])
