"""What an operator does with a deployed cluster: backup, restore, upgrade, new keys. By the lines of the manual."""

from __future__ import annotations

import subprocess

import httpx
import pytest

from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.api import Api, assert_ended_once, story
from tests.with_docker.project import Project


def test_a_backup_comes_out_and_is_restored_into_the_stopped_project(project: Project, api: Api) -> None:
    before = api.wait_for_job(api.submit_one("sleep"))
    waiting = api.submit_one("sleep", params={"seconds": 1})
    archive = project.manage("backup", "-").stdout.encode("latin-1")
    later = api.submit_one("sleep")
    api.wait_for_jobs([waiting, later])

    refused = project.compose("exec", "-T", "web", *RESTORE, stdin=archive, check=False)
    project.compose("stop", *project.services)
    project.compose("run", "--rm", "-T", "--no-deps", "web", *RESTORE[2:], stdin=archive)
    project.up()

    assert refused.returncode == 1
    assert "stop the cluster" in refused.stderr
    assert api.job(before["id"]) == before
    assert api.wait_for_job(waiting, seconds=60)["state"] == "succeeded"
    assert api.http.get(f"/api/jobs/{later}").status_code == 404, "it will not have happened"
    assert "/.env" not in project.exec("web", "find", "/var/lib/gpu-cluster", "-name", ".env").stdout


RESTORE = ("python", "manage.py", "restore", "-", "--replace")


def test_an_upgrade_gives_running_jobs_back_without_a_charge(project: Project, api: Api) -> None:
    jobs = api.submit("sleep", count=4, params={"seconds": 8})
    api.wait_for_job(jobs[0], "running")

    project.environment["VERSION"] = "the-next-one"
    project.up("--build")

    labels = {service: project.inspect(service)["Config"]["Labels"] for service in project.services}
    assert {each["org.opencontainers.image.version"] for each in labels.values()} == {"the-next-one"}
    for job in api.wait_for_jobs(jobs, seconds=90):
        assert (job["state"], job["failures"]) == ("succeeded", 0), story(job)
        assert_ended_once(job)


def sign_in(project: Project, password: str) -> bool:
    with httpx.Client(base_url=f"http://127.0.0.1:{project.web_port}") as client:
        client.get("/admin/login/")
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": client.cookies["gpu_cluster_csrf"]}
        client.post("/admin/login/", data=form)
        return "gpu_cluster_session" in client.cookies


def test_every_key_is_made_anew_and_the_old_ones_are_refused(project: Project, api: Api) -> None:
    old = {
        (service, name): project.secret(service, name)
        for service, names in {
            "web": ("api_token", "admin_password", "secret_key", "database_url", "redis_url"),
            "gpu-0": ("database_url", "redis_url"),
            "flower": ("flower_password",),
        }.items()
        for name in names
    }
    job = api.submit_one("sleep", params={"seconds": 20})
    api.wait_for_job(job, "running")

    rotate(project, "--all")

    new = {key: project.secret(*key) for key in old}
    fresh = Api(f"http://127.0.0.1:{project.web_port}", new["web", "api_token"])
    assert [key for key in old if old[key] == new[key]] == []
    assert api.http.get("/api/jobs").status_code == 401
    assert (sign_in(project, old["web", "admin_password"]), sign_in(project, new["web", "admin_password"])) == (
        False,
        True,
    )
    assert refuses(project, old["gpu-0", "redis_url"], old["gpu-0", "database_url"]) == ["broker", "database"]
    ended = fresh.wait_for_job(job, seconds=90)
    assert (ended["state"], ended["failures"]) == ("succeeded", 0), story(ended)
    fresh.close()


def test_one_key_leaves_the_others_and_a_password_of_somebody_s_own(project: Project) -> None:
    before = project.secret("flower", "flower_password"), project.secret("web", "admin_password")
    code = (
        "from django.contrib.auth.models import User\n"
        "admin = User.objects.get(username='admin'); admin.set_password('chosen by ada'); admin.save()"
    )
    project.manage("shell", "-v", "0", "-c", code)

    rotate(project, "api_token")

    assert (project.secret("flower", "flower_password"), project.secret("web", "admin_password")) == before
    assert sign_in(project, "chosen by ada")
    project.manage("rotate", "--apply")
    assert sign_in(project, before[1])


@pytest.mark.parametrize("words", [["pasword"], []])
def test_an_unknown_key_is_named_and_nothing_happens(project: Project, words: list[str]) -> None:
    before = project.container_id("web")

    refused = run_rotate(project, *words)

    assert refused.returncode != 0
    assert "broker_gpu" in refused.stdout + refused.stderr
    assert project.container_id("web") == before


def rotate(project: Project, *words: str) -> None:
    done = run_rotate(project, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    wait_until(lambda: project.health("web") == "healthy", 30, project.tail)


def run_rotate(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**project.environment, "COMPOSE_PROJECT_NAME": project.name, "COMPOSE_PROGRESS": "plain"}
    return subprocess.run(
        [str(ROOT / "docker" / "rotate"), *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def refuses(project: Project, redis_url: str, database_url: str) -> list[str]:
    """Who does not let an old key in."""
    code = (
        "import psycopg, redis, sys\n"
        "try: redis.Redis.from_url(sys.argv[1]).ping()\n"
        "except redis.exceptions.AuthenticationError: print('broker')\n"
        "try: psycopg.connect(sys.argv[2])\n"
        "except psycopg.OperationalError as error: print('database' if 'password' in str(error) else error)\n"
    )
    return project.exec("gpu-0", "python", "-c", code, redis_url, database_url).stdout.split()
