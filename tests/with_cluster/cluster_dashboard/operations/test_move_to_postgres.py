"""A backup of a running cluster on SQLite goes on as another cluster, on PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import psycopg

from tests.services import PostgresServer
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.cluster_dashboard.console.test_cli import manage

GPU_COUNT = 1


def test_cluster_moves_while_its_jobs_wait_and_run(
    cluster: Cluster, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    ended = cluster.api.submit_one(params={"seconds": 0})
    cluster.api.wait_for_job(ended)
    running, waiting = cluster.api.submit(count=2, params={"seconds": 3})
    cluster.api.wait_for_job(running, "running")

    assert manage(cluster, "backup", str(tmp_path / "move.zip")).returncode == 0
    refused = manage(cluster, "restore", "--replace", str(tmp_path / "move.zip"))

    assert (refused.returncode, "stop the cluster" in refused.stderr) == (1, True)
    target = Cluster(gpus=GPU_COUNT, environment={"DATABASE_URL": _fresh_database(postgres_server)})
    try:
        restored = manage(target, "restore", str(tmp_path / "move.zip"))
        assert (restored.returncode, restored.stderr) == (0, "")
        target.start()
        for job_id in (running, waiting):
            assert target.api.wait_for_job(job_id)["state"] == "succeeded"
        # The job that ran at the moment of the backup ran again, and paid nothing for it.
        job = target.api.job(running)
        assert (job["attempt"], job["failures"]) == (2, 0)
        assert target.secret("API_TOKEN") == cluster.secret("API_TOKEN")
        verdict = manage(target, "verify")
        assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    finally:
        target.clean_up()


def _fresh_database(server: PostgresServer) -> str:
    name = f"moved_{uuid4().hex}"
    with psycopg.connect(host=server.host, user=server.role, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url(name)
