"""One cluster for each module; each test gets it without jobs, its workers alive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_celery import CeleryTestWorker

from tests.with_cluster.cluster import Cluster
from tests.with_cluster.nodes import workers_of


@pytest.fixture(scope="module")
def running_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """GPU_COUNT and ENVIRONMENT of the module, where it has them, are this cluster's."""
    gpus = getattr(request.module, "GPU_COUNT", 2)
    with Cluster(gpus=gpus, environment=getattr(request.module, "ENVIRONMENT", None)) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    running_cluster.settle()
    return running_cluster


@pytest.fixture
def workers(cluster: Cluster) -> list[CeleryTestWorker]:
    """pytest-celery's workers, by GPU index."""
    return workers_of(cluster)
