"""Two clusters and one Redis server."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.services import ValkeyServer, wait_until
from tests.with_cluster.cluster import Cluster


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with TemporaryDirectory(prefix="shared-") as folder, ValkeyServer(Path(folder, "broker.sock")) as server:
        yield server


@pytest.fixture
def first(server: ValkeyServer) -> Iterator[Cluster]:
    with Cluster(gpus=1, environment={"REDIS_URL": server.url}) as started:
        yield started


def test_a_second_cluster_is_refused_until_it_has_a_prefix_of_its_own(server: ValkeyServer, first: Cluster) -> None:
    second = Cluster(gpus=1, environment={"REDIS_URL": server.url})
    try:
        refused = second.up_again()
        assert refused.returncode == 2, refused.stdout
        assert "REDIS_URL: another living cluster uses this server's database" in refused.stdout

        second.environment["REDIS_PREFIX"] = "second:"
        second.start()
        for cluster in (first, second):
            jobs = cluster.api.submit(count=3)
            assert {job["state"] for job in cluster.api.wait_for_jobs(jobs)} == {"succeeded"}
        with server.client() as client:
            names = [*client.scan_iter(count=1000), *client.pubsub_channels()]
        assert {name.split(b":")[0] for name in names} == {b"gpucluster", b"second"}
    finally:
        second.clean_up()


def test_a_copied_state_folder_waits_for_the_end_of_the_original(server: ValkeyServer, first: Cluster) -> None:
    copy = Cluster(gpus=1, environment={"REDIS_URL": server.url})
    try:
        shutil.copytree(first.state_dir, copy.state_dir, ignore=shutil.ignore_patterns("run"))
        assert copy.up_again().returncode == 2

        first.stop(signal.SIGTERM)
        copy.start()

        job = copy.api.submit_one("sleep")
        assert copy.api.wait_for_job(job)["state"] == "succeeded"
    finally:
        copy.clean_up()


def test_a_second_cluster_on_the_same_database_starts_nothing(tmp_path: Path) -> None:
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/shared.sqlite3"}
    with Cluster(gpus=1, environment=database) as owner:
        job = owner.api.submit_one("sleep", params={"seconds": 30})
        owner.api.wait_for_job(job, "running")
        second = Cluster(gpus=1, environment=database)
        try:
            second.launch()
            second.wait_for_output("DATABASE_URL: another living cluster")

            wait_until(lambda: second.output().count("DATABASE_URL: another living cluster") >= 2, 30, second.tail)
            assert owner.api.job(job)["attempt"] == 1
            assert owner.api.job(job)["state"] == "running"
        finally:
            second.clean_up()
