"""One compose project for each run of the folder; each test gets it healthy, without jobs, and the verdict ends it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.services import wait_until
from tests.with_cluster.api import Api
from tests.with_docker.project import Project, engine_missing, note_figure

SERVICES = ("scheduler", "beat", "gpu-0", "gpu-1", "web", "flower")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skipped where no engine runs, also in CI: a container has none."""
    here = [item for item in items if item.path.is_relative_to(__file__.rpartition("/")[0])]
    if here and (reason := engine_missing()) is not None:
        for item in here:
            item.add_marker(pytest.mark.skip(reason=reason))
    for item in here:
        item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def running_project() -> Iterator[Project]:
    # Of each process that runs tests: make test runs two files at a time.
    name = f"gpu-cluster-tests-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    project = Project(name, services=SERVICES)
    project.down("--volumes")
    try:
        note_figure("up cold, images built", seconds=project.up("--build"))
        yield project
        verdict = project.verify()
        assert verdict.returncode == 0, verdict.stdout
    finally:
        project.down("--volumes")


@pytest.fixture
def project(running_project: Project) -> Project:
    for service in ("redis", "postgres", *SERVICES):
        running_project.wait_for_health(service)
    return running_project


@pytest.fixture
def api(project: Project) -> Iterator[Api]:
    """The generator is paused, nothing is broken by chance, no job waits or runs."""
    api = project.api()
    api.change_control(paused=True, fault_profile="none")

    def is_empty() -> bool:
        left = [*api.jobs(state="queued"), *api.jobs(state="running")]
        for job in left:
            if not job["cancel_requested"]:
                api.cancel(job["id"])
        return not left

    wait_until(is_empty, 30, project.tail)
    yield api
    api.close()
