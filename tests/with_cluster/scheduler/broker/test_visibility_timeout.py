"""No job is ended, or started twice, by the age of its message.

A copy of the source has a visibility timeout of 2 s: each hint of a job that runs for longer is delivered again, over
and over, to the same worker and to an idle one. The product's timeout is an hour.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.redis_client import KEY_PREFIX
from tests.mutants.source import copy_source
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.api import assert_ended_once, events_of, story
from tests.with_cluster.cluster import Cluster

VISIBILITY_TIMEOUT_SECONDS = 2
JOB_SECONDS = 12


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("visibility")
    copy_source(folder)
    shorten_timeout(folder / "scheduler" / "celery.py")
    with Cluster(gpus=2, source=folder) as cluster:
        yield cluster


def shorten_timeout(file: Path) -> None:
    before = '"visibility_timeout": 3600,\n        "unacked_restore_interval": 10,'
    after = (
        f'"visibility_timeout": {VISIBILITY_TIMEOUT_SECONDS},\n'
        '        "unacked_restore_interval": 0.5,\n        "unacked_restore_throttle": 1,'
    )
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))


def test_a_job_that_outlives_its_message_starts_once_and_ends_once(cluster: Cluster) -> None:
    limit = JOB_SECONDS + 30
    job_id = cluster.api.submit_one(params={"seconds": JOB_SECONDS}, time_limit_seconds=limit)
    cluster.api.wait_for_job(job_id, "running")
    assert unacknowledged(cluster, job_id) == 1

    # It was delivered again, and the idle worker dropped it.
    wait_until(lambda: unacknowledged(cluster, job_id) == 0, JOB_SECONDS - 2, lambda: "the hint is delivered again")
    assert cluster.api.job(job_id)["state"] == "running"
    job = cluster.api.wait_for_job(job_id, seconds=limit)

    assert (job["state"], job["attempt"], job["failures"]) == ("succeeded", 1, 0), story(job)
    assert len(events_of(job, "started")) == 1, story(job)
    assert_ended_once(job)
    verdict = subprocess.run(
        [sys.executable, "manage.py", "verify"],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert verdict.returncode == 0, verdict.stdout


def unacknowledged(cluster: Cluster, job_id: int) -> int:
    """The number of hints of the job that workers have taken and not acknowledged."""
    with cluster.redis() as client:
        notes = client.hvals(f"{KEY_PREFIX}unacked")
    return sum(f"{job_id}-1".encode() in note for note in notes)
