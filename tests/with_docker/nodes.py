"""pytest-celery's worker nodes on the containers of the compose project."""

from __future__ import annotations

from typing import Any

from celery import Celery
from pytest_celery import CeleryTestContainer, CeleryTestWorker

import docker
from tests.services import wait_until
from tests.with_docker.project import BACK_SECONDS, KILL_MAIN, Project


class ContainerNode(CeleryTestContainer):
    """A GPU worker's container. Its broker publishes no port: what is asked of Celery is asked inside."""

    def __init__(self, project: Project, service: str) -> None:
        self._engine = docker.from_env()
        super().__init__(self._engine.containers.get(project.container_id(service)))
        self._project, self.service = project, service

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"broker_url": "memory://", "result_backend": None}

    @property
    def restarts(self) -> int:
        self.reload()
        return self._container.attrs["RestartCount"]

    def kill(self, signal: str | int | None = None) -> None:
        """Its main process, not the container: Docker leaves alone what it was told to kill."""
        before = self.restarts
        self._container.exec_run(["sh", "-c", KILL_MAIN])
        wait_until(lambda: self.restarts > before, BACK_SECONDS, f"{self.service} is started again")

    def ready(self) -> bool:
        self._project.wait_for_health(self.service)
        return True

    def teardown(self) -> None:
        self._engine.close()


def worker_of(project: Project, service: str) -> CeleryTestWorker:
    return CeleryTestWorker(ContainerNode(project, service), Celery("tests", set_as_current=False))
