"""What the code of a job tries from inside its worker's container: to become admin, or another worker."""

from __future__ import annotations

import pytest

from tests.with_cluster.api import Api
from tests.with_docker.project import Project

#: Prints the error's class of each statement on standard input, executed with the worker's own URL.
TRY = """
import sys, psycopg
url = open("/run/secrets/database_url").read().strip()
with psycopg.connect(url, autocommit=True) as worker:
    for statement in sys.stdin.read().splitlines():
        try:
            worker.execute(statement)
            print("done")
        except psycopg.Error as error:
            print(type(error).__name__)
"""
STATEMENTS = (
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "UPDATE auth_user SET password = 'mine'",
    "SELECT * FROM cluster_dashboard_apitoken",
    "SELECT * FROM django_session",
    "SET ROLE cluster",
    "SET ROLE cluster_owner",
)


def test_the_worker_s_database_role_becomes_nobody_else(project: Project) -> None:
    command = ("exec", "-T", "gpu-0", "python", "-c", TRY)

    tried = project.compose(*command, stdin="\n".join(STATEMENTS).encode()).stdout.split()

    assert tried == ["InsufficientPrivilege"] * len(STATEMENTS)


@pytest.mark.parametrize("role", ["cluster", "cluster_owner", "cluster_web"])
def test_no_other_role_signs_in_with_the_worker_s_password(project: Project, role: str) -> None:
    attempt = (
        "import psycopg; url = open('/run/secrets/database_url').read().strip();"
        f"psycopg.connect(url.replace('cluster_worker', '{role}'))"
    )

    tried = project.exec("gpu-0", "python", "-c", attempt, check=False)

    assert "password authentication failed" in tried.stderr


def test_planted_secrets_change_nothing_at_the_next_start_of_web(project: Project, api: Api) -> None:
    planted = "API_TOKEN=planted-by-the-code-of-a-job\\nSECRET_KEY=planted-planted-planted-planted-planted\\n"
    project.exec("gpu-0", "sh", "-c", f"printf '{planted}' > /var/lib/gpu-cluster/.env")

    project.compose("restart", "web")
    project.wait_for_health("web")

    planted_token = Api(f"http://127.0.0.1:{project.web_port}", "planted-by-the-code-of-a-job")
    answer = planted_token.http.post("/api/jobs", json={"type": "sleep", "params": {"seconds": 0}})
    planted_token.close()
    assert answer.status_code == 401
    assert api.wait_for_job(api.submit_one("sleep", params={"seconds": 0}))["state"] == "succeeded"


def test_a_worker_sees_no_other_s_files(project: Project) -> None:
    seen = project.exec("gpu-0", "sh", "-c", "cd /var/lib/gpu-cluster && ls -A . witness").stdout

    assert "gpu-0.jsonl" in seen
    assert not {"workers", "gpu-1.jsonl"} & set(seen.split())
