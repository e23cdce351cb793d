"""What each database role of a deployment may do, granted after each migration by the role that owns the tables.

Roles are made by docker/roles.sql; their names begin with the name of the database. A database without these roles,
and SQLite, has no rights to grant.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from django.apps import apps
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder


class DatabaseRole(StrEnum):
    """The end of a role's name: `<database>_web`."""

    WEB = "web"
    SCHEDULER = "scheduler"
    WORKER = "worker"


_EVERYTHING: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_READ: Final = ("SELECT",)
_APPEND: Final = ("SELECT", "INSERT")
_COUNT: Final = ("SELECT", "INSERT", "UPDATE")

JOBS: Final = "scheduler_job"

#: Empty unless this connection's role owns the tables.
_OWN_DATABASE: Final = "SELECT current_database() FROM pg_tables WHERE tablename = %s AND tableowner = current_user"

#: What a GPU worker does, by table; a table that is missing here is closed to it. Events are appended, never changed;
#: submitting, users, sessions and tokens are no business of a worker.
WORKER_RIGHTS: Final[dict[str, tuple[str, ...]]] = {
    JOBS: ("SELECT", "UPDATE"),
    "scheduler_jobevent": _APPEND,
    "scheduler_allocation": ("SELECT", "INSERT", "DELETE"),
    "scheduler_gpu": _COUNT,
    "scheduler_control": _READ,
    "scheduler_lease": _READ,  # whether another cluster uses this database
    "scheduler_clusterevent": _APPEND,
    "scheduler_tally": _COUNT,
    "scheduler_rollup": _COUNT,
}


def rights(role: DatabaseRole, table: str) -> tuple[str, ...]:
    """What the role may do with the table."""
    if role is DatabaseRole.WORKER:
        return WORKER_RIGHTS.get(table, ())
    if table == _migrations():
        return _READ
    if role is DatabaseRole.SCHEDULER and not table.startswith("scheduler_"):
        return ()
    return _EVERYTHING


def grant_rights() -> list[str]:
    """Grants the roles that exist what they need and takes everything else from them; returns their names.

    Nobody waits: GRANT and REVOKE lock no row of a table.
    """
    if connection.vendor != "postgresql":
        return []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_database() FROM pg_tables WHERE tablename = %s AND tableowner = current_user", [JOBS]
        )
        row = cursor.fetchone()
        if row is None:
            return []  # only the owner can grant, and has done it
        (database,) = row
        names = {f"{database}_{role}": role for role in DatabaseRole}
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(names)])
        found = sorted(name for (name,) in cursor.fetchall())
        for name in found:
            for statement in _statements(name, names[name]):
                cursor.execute(statement)
    return found


def _statements(name: str, role: DatabaseRole) -> Iterator[str]:
    quoted = connection.ops.quote_name(name)
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {quoted}"
    yield f"GRANT USAGE ON SCHEMA public TO {quoted}"
    for table in tables():
        if words := rights(role, table):
            yield f"GRANT {', '.join(words)} ON {connection.ops.quote_name(table)} TO {quoted}"
    if role is DatabaseRole.WEB:
        # A restored table brings its own numbers, and its sequence has to go on behind them.
        yield f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {quoted}"


def tables() -> list[str]:
    """Of every model, many-to-many ones too, and of the migrations."""
    found = {model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed}
    return sorted({*found, _migrations()})


def _migrations() -> str:
    table: str = MigrationRecorder.Migration._meta.db_table
    return table
