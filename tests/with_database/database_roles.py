"""The deployment's database roles, made in the test's PostgreSQL as compose makes them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from django.db import connection

from cluster_dashboard.operations.database_rights import DatabaseRole, grant_rights
from tests.project import ROOT
from tests.services import PostgresServer


def role_name(role: DatabaseRole | str) -> str:
    return f"{connection.settings_dict['NAME']}_{role}"


def make_roles() -> None:
    """docker/roles.sql, and what the service `init` grants as the owner of the tables."""
    run_roles_sql()
    with connection.cursor() as cursor:
        cursor.execute(f'SET ROLE "{role_name("owner")}"')
        try:
            grant_rights()
        finally:
            cursor.execute("RESET ROLE")


def run_roles_sql() -> None:
    database = connection.settings_dict
    psql = shutil.which("psql") or PostgresServer.program("psql")
    with TemporaryDirectory(prefix="roles-") as secrets:
        for name in ("owner", *DatabaseRole):
            Path(secrets, name).write_text(f"a password of {name}\n")
        subprocess.run(
            [
                psql,
                *("-qtX", "-h", database["HOST"], "-U", database["USER"], "-d", database["NAME"]),
                *("-v", f"secrets={secrets}", "-f", ROOT / "docker" / "roles.sql"),
            ],
            check=True,
            timeout=60,
        )


@contextmanager
def connected_as(role: DatabaseRole | str) -> Iterator[psycopg.Connection[Any]]:
    """As code that has only the role's URL: no Django, each statement a transaction."""
    database = connection.settings_dict
    with psycopg.connect(
        host=database["HOST"], user=role_name(role), dbname=database["NAME"], autocommit=True
    ) as connected:
        yield connected
