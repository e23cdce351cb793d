"""A second host that runs only GPU workers: a second compose project, on a network of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.services import wait_until
from tests.with_cluster.api import Api, story
from tests.with_cluster.cluster import free_ports
from tests.with_docker.project import Project, docker

#: The second host's one GPU, gpu-0 there.
INDEX = 2


@pytest.fixture
def second_host(project: Project) -> Iterator[Project]:
    """The first host shows Redis and PostgreSQL on its private address while this lasts."""
    # Docker's own bridge: an address of this machine that containers of every network reach, and nobody else.
    bridge = "{{(index .IPAM.Config 0).Gateway}}"
    address = docker("network", "inspect", "bridge", "--format", bridge).strip()
    redis_port, postgres_port = map(str, free_ports(2))
    first = project.with_files("docker-compose.yml", "docker-compose.private.yml")
    first.environment |= {"PRIVATE_ADDRESS": address, "REDIS_PORT": redis_port, "POSTGRES_PORT": postgres_port}
    second = Project(
        f"{project.name}-second",
        services=["gpu-0"],
        files=["docker-compose.workers.yml"],
        environment={"HOST_NAME": "host-2", "GPU_OFFSET": str(INDEX), "GPU_COUNT": str(INDEX + 1)},
    )
    try:
        first.up()
        exported = first.compose(
            "run", "--rm", "-T", "--no-deps", "secrets", "export", address, redis_port, postgres_port
        )
        second.compose("run", "--rm", "-T", "secrets", "import", stdin=exported.stdout.encode())
        second.up()
        yield second
    finally:
        second.down("--volumes")
        project.up()


def test_its_gpu_runs_jobs_is_shown_by_host_and_its_witness_can_be_fetched(
    project: Project, second_host: Project
) -> None:
    api = project.api()
    api.change_control(paused=True, fault_profile="none")
    wait_until(api.is_ready, 30, project.tail)

    job = wait_until(lambda: run_on(api, INDEX), 90, lambda: f"GPU {INDEX} runs a job\n{second_host.tail()}")
    hosts = {gpu["index"]: gpu["host"] for gpu in api.http.get("/api/gpus").json()["gpus"]}
    without = project.manage("verify", check=False)
    folder = "/var/lib/gpu-cluster/workers"
    words = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "tar", "secrets", "-C", folder, "-c", ".")
    tar = second_host.compose(*words).stdout
    project.witness_of_others = tar.encode("latin-1")
    with_it = project.verify("--json")
    api.close()

    assert job["state"] == "succeeded", story(job)
    assert hosts == {0: "host-1", 1: "host-1", INDEX: "host-2"}
    assert without.returncode == 2, without.stdout
    assert f"on GPU {INDEX}" in without.stdout
    assert with_it.returncode == 0, f"{with_it.stdout}{with_it.stderr}"
    assert json.loads(with_it.stdout)["witness_folders"] == [
        *(f"{folder}/gpu-{index}/witness" for index in range(8)),
        "-",
    ]


def run_on(api: Api, gpu: int) -> dict | None:
    ids = api.submit("sleep", count=6, params={"seconds": 0.5})
    return next((job for job in api.wait_for_jobs(ids, seconds=60) if job["gpu"] == gpu), None)
