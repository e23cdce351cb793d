"""The product keeps its promises in whatever order things happen: on SQLite, and for a shorter while on PostgreSQL."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from tests.model.running import hunt
from tests.services import PostgresServer


def test_the_promises_hold_on_sqlite():
    found = hunt(rounds=4, seed=0)

    assert found.broken is None, found.story


@pytest.fixture
def postgres_url(postgres_server: PostgresServer):
    with closing(psycopg.connect(host=postgres_server.host, user=postgres_server.role, dbname="postgres")) as admin:
        admin.autocommit = True
        admin.execute("DROP DATABASE IF EXISTS model WITH (FORCE)")
        admin.execute("CREATE DATABASE model")
    return postgres_server.url("model")


def test_the_promises_hold_on_postgresql(postgres_url):
    found = hunt(rounds=1, seed=1000, database=postgres_url)

    assert found.broken is None, found.story
