"""What cannot succeed now is kept apart from what can never succeed, with each database's own errors."""

from __future__ import annotations

import sqlite3

import pytest
from django.db import Error, IntegrityError, InterfaceError, OperationalError, ProgrammingError, connection

from scheduler.database_errors import NeverStored, is_unavailable
from scheduler.models import ClusterEvent, Gpu

pytestmark = pytest.mark.usefixtures("gpus")


def error_of(sql: str, *params: object) -> BaseException:
    with pytest.raises(NeverStored) as caught, connection.cursor() as cursor:
        cursor.execute(sql, params)
    return caught.value


@pytest.mark.parametrize("text", ["half a pair \ud800", "x" * 70])
def test_a_value_that_is_not_storable_never_succeeds(text: str) -> None:
    if connection.vendor == "sqlite" and text.startswith("x"):
        pytest.skip("SQLite stores texts of any length")
    with pytest.raises(NeverStored) as caught:
        ClusterEvent.objects.create(kind=text, message="m")

    assert not is_unavailable(caught.value)


def test_a_nul_never_succeeds_on_postgresql() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite stores a NUL")
    with pytest.raises(NeverStored) as caught:
        ClusterEvent.objects.create(kind="k", message="a\0b")

    assert not is_unavailable(caught.value)


def test_a_broken_constraint_never_succeeds() -> None:
    with pytest.raises(IntegrityError) as caught:
        Gpu.objects.bulk_create([Gpu(index=0)])

    assert not is_unavailable(caught.value)


def test_a_value_that_is_nested_too_deep_never_succeeds_on_postgresql() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite stores JSON as text")
    depth = 50_000

    error = error_of("SELECT %s::jsonb", "[" * depth + "]" * depth)

    assert isinstance(error, OperationalError)
    assert not is_unavailable(error)


def test_a_database_that_only_reads_is_unavailable() -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = 1")
        error = error_of("UPDATE scheduler_gpu SET boot = ''")
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = 0")
    else:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")
        error = error_of("UPDATE scheduler_gpu SET boot = ''")
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")

    assert is_unavailable(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("the connection is lost"), True),
        (InterfaceError("the connection is closed"), True),
        (ProgrammingError("no such table"), False),
        (Error("unknown"), False),
        (ValueError("not JSON"), False),
        (sqlite3.OperationalError("not Django's"), False),
    ],
)
def test_each_class_of_error(error: Exception, expected: bool) -> None:
    assert is_unavailable(error) is expected
