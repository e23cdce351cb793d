"""GPU workers as pytest-celery sees them: nodes on containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_celery import CeleryTestWorker

from tests.with_cluster.api import Api, story
from tests.with_docker.nodes import worker_of
from tests.with_docker.project import Project


@pytest.fixture
def worker(project: Project) -> Iterator[CeleryTestWorker]:
    node = worker_of(project, "gpu-0")
    yield node
    node.teardown()


def test_a_killed_worker_is_ready_again(worker: CeleryTestWorker, api: Api) -> None:
    worker.kill()

    assert worker.ready()
    assert api.wait_for_job(api.submit_one("sleep"), seconds=60)["state"] == "succeeded"


def test_a_restarted_worker_gives_its_job_back_without_a_charge(project: Project, api: Api) -> None:
    job_id = api.submit_one("sleep", params={"seconds": 15})
    worker = worker_of(project, f"gpu-{api.wait_for_event(job_id, 'started')['gpu']}")

    worker.restart()

    job = api.wait_for_job(job_id, seconds=90)
    worker.teardown()
    assert (job["state"], job["failures"], job["attempt"]) == ("succeeded", 0, 2), story(job)
