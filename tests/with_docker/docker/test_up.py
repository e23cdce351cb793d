"""docker compose up -d --wait: what is there then, and what of it can be reached."""

from __future__ import annotations

import json
import os
import re

import httpx
import pytest

from tests.with_cluster.api import Api
from tests.with_docker.conftest import SERVICES
from tests.with_docker.project import Project, docker

EVERY = ("redis", "postgres", *SERVICES)


def test_one_shots_have_ended_well(project: Project) -> None:
    assert [project.inspect(name)["State"]["ExitCode"] for name in ("secrets", "init")] == [0, 0]


def test_jobs_of_each_type_finish(project: Project, api: Api) -> None:
    ids = [
        *api.submit("sleep"),
        *api.submit("compute", params={"kernel": "prime_sieve", "size": 10_000}),
        *api.submit("matrix", params={"size": 64, "repetitions": 1}),
        *api.submit("fault_injection", params={"mode": "raise", "after_seconds": 0}),
    ]

    states = [job["state"] for job in api.wait_for_jobs(ids, seconds=60)]

    assert states == ["succeeded", "succeeded", "succeeded", "failed"]


def test_the_admin_signs_in_with_the_generated_password(project: Project) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{project.web_port}", follow_redirects=True) as client:
        client.get("/admin/login/")
        form = {
            "username": "admin",
            "password": project.secret("web", "admin_password"),
            "csrfmiddlewaretoken": client.cookies["gpu_cluster_csrf"],
            "next": "/admin/",
        }
        page = client.post("/admin/login/", data=form)

    assert page.status_code == 200
    assert "gpu_cluster_session" in client.cookies


def test_flower_needs_its_password(project: Project) -> None:
    url = f"http://127.0.0.1:{project.flower_port}/workers"

    without = httpx.get(url)
    with_it = httpx.get(url, auth=("admin", project.secret("flower", "flower_password")), timeout=20)

    assert (without.status_code, with_it.status_code) == (401, 200)


def test_only_the_public_page_is_warned_about_which_compose_asks_for(project: Project) -> None:
    """The container listens on every address; the port is published on 127.0.0.1 alone, which it cannot know."""
    checked = project.manage("check", "--deploy", "--fail-level", "ERROR", check=False)

    assert checked.returncode == os.EX_OK, checked.stderr
    assert set(re.findall(r"\((\w+\.[WE]\d+)\)", checked.stderr)) == {"gpu_cluster.W001"}


def test_the_metrics_can_be_read_from_inside(project: Project) -> None:
    ask = "import urllib.request; print(urllib.request.urlopen('http://web:8080/metrics').read().decode())"

    metrics = project.exec("scheduler", "python", "-c", ask).stdout

    assert 'gpu_cluster_up{part="database"} 1.0' in metrics
    assert 'gpu_cluster_up{part="broker"} 1.0' in metrics


def test_only_two_ports_are_published_and_on_loopback_alone(project: Project) -> None:
    published = {
        (binding["HostIp"], int(binding["HostPort"]))
        for service in EVERY
        for bindings in project.inspect(service)["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    }

    assert published == {("127.0.0.1", project.web_port), ("127.0.0.1", project.flower_port)}


def test_a_container_of_another_network_reaches_nothing(project: Project) -> None:
    targets = [
        (network["IPAddress"], port)
        for service, port in {"redis": 6379, "postgres": 5432, "web": 8080, "flower": 5555}.items()
        for network in project.inspect(service)["NetworkSettings"]["Networks"].values()
    ]
    tries = "; ".join(f"timeout 1 bash -c '</dev/tcp/{ip}/{port}' && echo {ip}:{port}" for ip, port in targets)
    image = project.environment["IMAGE"]

    reached = docker("run", "--rm", "--entrypoint", "bash", image, "-c", f"({tries}) 2>/dev/null; echo tried")

    assert reached.split() == ["tried"]


def test_workers_reach_nothing_outside(project: Project) -> None:
    networks = json.loads(docker("network", "inspect", f"{project.name}_inside"))

    assert networks[0]["Internal"] is True
    assert list(project.inspect("gpu-0")["NetworkSettings"]["Networks"]) == [f"{project.name}_inside"]


@pytest.mark.parametrize("service", EVERY)
def test_each_container_has_no_more_than_it_needs(project: Project, service: str) -> None:
    found = project.inspect(service)
    host = found["HostConfig"]

    assert found["Config"]["User"] not in {"", "root", "0"}
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["Init"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}


def test_no_secret_stands_in_a_container_s_environment(project: Project) -> None:
    values = [project.secret("web", name) for name in ("secret_key", "api_token", "admin_password", "redis_url")]

    variables = [variable for service in EVERY for variable in project.inspect(service)["Config"]["Env"]]

    assert not [variable for variable in variables if any(value in variable for value in values)]


def test_a_worker_sees_its_own_secrets_alone(project: Project) -> None:
    seen = project.exec("gpu-0", "ls", "/run/secrets").stdout.split()

    assert sorted(seen) == ["database_url", "redis_url", "seed"]


def test_the_broker_keeps_its_users_from_what_they_do_not_need(project: Project) -> None:
    code = (
        "import redis, sys; client = redis.Redis.from_url(open('/run/secrets/redis_url').read().strip())\n"
        "try: client.flushall()\n"
        "except redis.exceptions.NoPermissionError: print('refused')"
    )

    assert project.exec("gpu-0", "python", "-c", code).stdout.strip() == "refused"
