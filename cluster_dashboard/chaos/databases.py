"""A database that is locked, or unavailable.

SQLite is a file: it cannot be unavailable for one process alone, and in WAL mode reads succeed under any lock. So it is
locked here, for less than the 20 s that a writer waits, or for longer, which makes it unavailable to every writer. On
PostgreSQL, tables are locked, or every session is ended again and again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event, Thread
from typing import Any, Final

from django.db import connection, connections

from cluster_dashboard.chaos.deaths import AFTER_HEAL
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.stage import CannotPlay, NotSeen, Stage
from cluster_dashboard.chaos.submitting import submit_for
from scheduler.database_errors import DatabaseFailure

LOCKED_SECONDS: Final = 10.0
#: The promise is about an outage of this length.
UNAVAILABLE_SECONDS: Final = 30.0
#: The pause between two rounds that end all sessions.
END_EVERY_SECONDS: Final = 0.2

_TABLES: Final = "scheduler_job, scheduler_jobevent, scheduler_allocation, scheduler_tally, scheduler_lease"


def lock_database(stage: Stage) -> None:
    _load(stage, LOCKED_SECONDS)
    with _locked(stage):
        collect = submit_for(stage, LOCKED_SECONDS, may_be_refused=True)
    stage.healed()
    stage.see_jobs_flow()
    collect()


def database_away(stage: Stage) -> None:
    _load(stage, UNAVAILABLE_SECONDS)
    if connection.vendor == "sqlite":
        with _locked(stage):
            collect = submit_for(stage, UNAVAILABLE_SECONDS, may_be_refused=True)
    else:
        with _sessions_end(stage):
            collect = submit_for(stage, UNAVAILABLE_SECONDS, may_be_refused=True)
    stage.healed()
    stage.see_jobs_flow()
    collect()


def _load(stage: Stage, unavailable_seconds: float) -> None:
    """One job that runs for longer than the database is unavailable, some that end meanwhile, and waiting ones. No
    worker dies, so none may be requeued."""
    running = stage.sleeps(unavailable_seconds + 4.0)
    running += stage.sleeps(4.0, count=len(stage.gpus) - 1) if len(stage.gpus) > 1 else []
    stage.expect(running, attempt=1)
    stage.starts(running, len(running))
    stage.expect(stage.sleeps(0.3, count=5 * len(stage.gpus)), attempt=1)
    stage.moment()


@contextmanager
def _locked(stage: Stage) -> Iterator[None]:
    """Blocks every writer. The lock ends with this process at the latest."""
    if connection.vendor == "sqlite":
        name = connection.settings_dict["NAME"]
        with closing(sqlite3.connect(name, timeout=30, isolation_level=None)) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            stage.injected()
            yield
            lock.execute("ROLLBACK")
    elif connection.vendor == "postgresql":
        lock_connection = _second_connection()
        try:
            with lock_connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute(f"LOCK TABLE {_TABLES} IN ACCESS EXCLUSIVE MODE")
                stage.injected()
                yield
                cursor.execute("ROLLBACK")
        finally:
            lock_connection.close()
    else:
        raise CannotPlay(f"cannot lock a database of type {connection.vendor}")


def _second_connection() -> Any:
    """The first one observes."""
    return connections.create_connection("default")


@contextmanager
def _sessions_end(stage: Stage) -> Iterator[None]:
    """Ends all other sessions of the cluster's database user again and again."""
    killer = _second_connection()
    over, ended = Event(), [0]

    def end_sessions() -> None:
        with killer.cursor() as cursor:
            while not over.wait(END_EVERY_SECONDS):
                cursor.execute(
                    "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
                )
                ended[0] += cursor.fetchone()[0]

    thread = Thread(target=end_sessions, name="sessions", daemon=True)
    killer.inc_thread_sharing()
    stage.injected()
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)
        killer.close()
        with suppress(DatabaseFailure):
            connection.close()
    if not ended[0]:
        raise NotSeen("no session could be ended")
    stage.facts["sessions_ended"] = ended[0]


SCENARIOS: Final = (
    Scenario(
        name="lock_database",
        summary=f"the database is locked against writers for {LOCKED_SECONDS:.0f} s",
        play=lock_database,
        promise=AFTER_HEAL,
    ),
    Scenario(
        name="database_away",
        summary=f"the same for {UNAVAILABLE_SECONDS:.0f} s, longer than writers wait; on PostgreSQL all sessions end",
        play=database_away,
        promise=AFTER_HEAL,
    ),
)
