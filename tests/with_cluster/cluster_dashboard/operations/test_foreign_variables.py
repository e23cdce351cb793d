"""A cluster in the environment of other software: every variable that a library below it would read is set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from cluster_dashboard.foreign_variables import is_foreign
from tests.variables_of_libraries import read_by_libraries
from tests.with_cluster.cluster import Cluster

FOREIGN: Final = {name: "other-software" for name in read_by_libraries() if is_foreign(name)} | {
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "WEB_CONCURRENCY": "auto",
    "PGDATESTYLE": "nonsense",
}


@pytest.fixture(scope="module")
def among_others() -> Iterator[Cluster]:
    with Cluster(gpus=1, environment=FOREIGN) as started:
        yield started


def test_a_job_runs(among_others: Cluster) -> None:
    job = among_others.api.submit_one("sleep")

    assert among_others.api.wait_for_job(job)["state"] == "succeeded"


def test_flower_shows_the_cluster_behind_its_password(among_others: Cluster) -> None:
    url = f"http://localhost:{among_others.flower_port}/workers"

    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("admin", among_others.secret("FLOWER_PASSWORD"))).status_code == 200


def test_what_was_ignored_is_named(among_others: Cluster) -> None:
    line = next(line for line in among_others.output().splitlines() if "variables_ignored" in line)

    assert {"BROKER_URL", "CELERY_BROKER_URL", "PGHOST", "WEB_CONCURRENCY"} <= set(line.replace('"', " ").split())
