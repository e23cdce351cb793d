"""Every test of this folder runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from pytest_django import DjangoDbBlocker
from redis import Redis

from scheduler.models import Control, Gpu
from tests.services import PostgresServer, ValkeyServer
from tests.with_database.database_roles import make_roles

#: As settings.py has it; `_use` changes the settings themselves.
SQLITE = dict(settings.DATABASES["default"])


@pytest.fixture(scope="session", autouse=True, params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("sqlite") / "test.sqlite3"
        # A file, not memory: threads and processes must see one database.
        return {**SQLITE, "NAME": str(file), "TEST": {"NAME": str(file)}}
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "cluster",
        "USER": server.role,
        "HOST": server.host,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 3},
    }


@pytest.fixture(scope="session")
def django_db_setup(database_settings: dict[str, Any], django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Puts the chosen database in the place of `default`; the product's code does not notice."""
    with django_db_blocker.unblock():
        _use(database_settings)
        name = connections["default"].creation.create_test_db(verbosity=0, autoclobber=True)
        if connections["default"].vendor == "postgresql":
            make_roles()
    yield
    with django_db_blocker.unblock():
        connections["default"].creation.destroy_test_db(name, verbosity=0)


def _use(chosen: dict[str, Any]) -> None:
    connections["default"].close()
    connections.settings["default"] = connections.configure_settings({"default": dict(chosen)})["default"]
    del connections["default"]


@pytest.fixture
def control(transactional_db: None) -> Control:
    return Control.objects.create(rate_per_minute=12, preset="normal", seed=7)


@pytest.fixture
def gpus(transactional_db: None) -> list[Gpu]:
    """Three GPUs with workers."""
    return [
        Gpu.objects.create(index=index, backend="simulated", memory_total_mib=81559, boot=f"boot-{index}")
        for index in range(3)
    ]


@pytest.fixture
def redis(valkey_server: ValkeyServer) -> Iterator[Redis]:
    """An empty Valkey, which the product's own connections use too."""
    with valkey_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def state_dir(tmp_path: Path, settings: Any) -> Path:
    settings.STATE_DIR = tmp_path
    return tmp_path
