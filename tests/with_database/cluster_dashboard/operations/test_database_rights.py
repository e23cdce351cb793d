"""A job's code has the database role of its worker: it can do what a worker does, and become nobody else."""

from __future__ import annotations

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from cluster_dashboard.operations.database_rights import WORKER_RIGHTS, DatabaseRole, grant_rights, rights, tables
from tests.with_database.database_roles import connected_as, make_roles, role_name, run_roles_sql

pytestmark = [
    pytest.mark.usefixtures("transactional_db"),
    pytest.mark.parametrize("database_settings", ["postgresql"], indirect=True, scope="session"),
]

#: What an attacker tries with the worker's URL, and whatever it opens.
ATTACKS = {
    "become the superuser": "SET ROLE postgres",
    "become the owner": "SET ROLE {owner}",
    "become the web process": "SET ROLE {web}",
    "make a superuser": "CREATE ROLE mallory SUPERUSER LOGIN",
    "raise itself": "ALTER ROLE {worker} SUPERUSER",
    "another role's password": "ALTER ROLE {web} PASSWORD 'mine'",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'touch /tmp/was-here'",
    "read through a program": "COPY scheduler_clusterevent (message) FROM PROGRAM 'id'",
    "read a file": "SELECT pg_read_file('/etc/passwd')",
    "write a file": "COPY (SELECT 1) TO '/tmp/was-here'",
    "set the admin's password": "UPDATE auth_user SET password = 'mine' WHERE username = 'admin'",
    "make an admin": "INSERT INTO auth_user (username) VALUES ('mallory')",
    "read passwords": "SELECT password FROM auth_user",
    "take a session": "SELECT session_data FROM django_session",
    "make a session": "INSERT INTO django_session (session_key, session_data, expire_date) VALUES ('k', 'd', now())",
    "read tokens": "SELECT * FROM cluster_dashboard_apitoken",
    "join a group": "INSERT INTO auth_user_groups (user_id, group_id) VALUES (1, 1)",
    "write the admin's log": "DELETE FROM django_admin_log",
    "rewrite a job's history": "UPDATE scheduler_jobevent SET charged = false",
    "remove a job's history": "DELETE FROM scheduler_jobevent",
    "remove all history": "TRUNCATE scheduler_jobevent",
    "rewrite the audit": "UPDATE scheduler_clusterevent SET actor = 'ada'",
    "remove the audit": "DELETE FROM scheduler_clusterevent",
    "remove jobs": "DELETE FROM scheduler_job",
    "forge a job": "INSERT INTO scheduler_job (id, name) VALUES (1, 'x')",
    "turn the controls": "UPDATE scheduler_control SET paused = true",
    "hold the scheduler's lease": "UPDATE scheduler_lease SET holder = 'me'",
    "lift a checkpoint": "UPDATE scheduler_checkpoint SET job = 999",
    "make a table": "CREATE TABLE mine (x int)",
    "make a temporary table": "CREATE TEMPORARY TABLE mine (x int)",
    "make a function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a trigger on a table of the web process": (
        "CREATE TRIGGER t BEFORE UPDATE ON scheduler_job FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "make a schema": "CREATE SCHEMA mine",
    "load an extension": "CREATE EXTENSION file_fdw",
    "drop a table": "DROP TABLE scheduler_job",
    "change a table": "ALTER TABLE scheduler_job ADD COLUMN mine int",
    "another database": "CREATE DATABASE mine",
}


@pytest.mark.parametrize("statement", ATTACKS.values(), ids=list(ATTACKS))
def test_a_worker_s_role_is_refused(statement: str) -> None:
    names = {role: f'"{role_name(role)}"' for role in ("owner", *DatabaseRole)}

    with connected_as(DatabaseRole.WORKER) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute(statement.format_map(names))


def test_the_scheduler_s_role_reads_no_user_session_or_token() -> None:
    with connected_as(DatabaseRole.SCHEDULER) as scheduler:
        for table in ("auth_user", "django_session", "cluster_dashboard_apitoken"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                scheduler.execute(f"SELECT * FROM {table}")


def test_the_web_process_s_role_changes_no_table_and_becomes_nobody_else() -> None:
    with connected_as(DatabaseRole.WEB) as web:
        web.execute("SELECT count(*) FROM auth_user")
        for statement in ("CREATE TABLE mine (x int)", "SET ROLE postgres", "COPY (SELECT 1) TO PROGRAM 'id'"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                web.execute(statement)


def test_no_role_is_more_than_a_role_with_a_password() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s) AND rolcanlogin AND NOT (rolsuper OR rolcreaterole"
            " OR rolcreatedb OR rolreplication OR rolbypassrls)",
            [[role_name(role) for role in ("owner", *DatabaseRole)]],
        )
        assert cursor.fetchone() == (4,)
        cursor.execute("SELECT rolpassword FROM pg_authid WHERE rolname = current_user")
        assert cursor.fetchone() == (None,)


def test_a_table_that_nobody_thought_of_is_closed_to_workers() -> None:
    assert set(WORKER_RIGHTS) <= set(tables())
    assert rights(DatabaseRole.WORKER, "scheduler_of_the_next_version") == ()
    assert {table for table in tables() if rights(DatabaseRole.WORKER, table)} == set(WORKER_RIGHTS)


def test_what_was_granted_before_and_is_not_needed_is_taken_away() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'GRANT ALL ON auth_user TO "{role_name(DatabaseRole.WORKER)}"')

    make_roles()

    with connected_as(DatabaseRole.WORKER) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("SELECT password FROM auth_user")


def test_roles_may_be_made_again_while_the_cluster_works() -> None:
    get_user_model().objects.create_user("ada")

    with connected_as(DatabaseRole.WEB) as web, web.transaction():
        web.execute("UPDATE auth_user SET first_name = 'Ada' WHERE username = 'ada'")
        run_roles_sql()

    assert get_user_model().objects.get(username="ada").first_name == "Ada"


def test_only_the_owner_grants() -> None:
    assert grant_rights() == []  # the test's own role is the superuser, who owns nothing here
