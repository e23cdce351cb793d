"""What is logged of a broker or database that is unreachable: one record when it breaks, one when it has recovered."""

from __future__ import annotations

import pytest
from django.db import DataError, InterfaceError, OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from scheduler.logs import Outage, event_logger


@pytest.fixture
def outage(caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level("INFO")
    return Outage(event_logger("test"), "relay", gpu=3)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


def test_an_outage_is_logged_once_with_component_and_error(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        outage.broke(RedisConnectionError("refused"))

    (record,) = caplog.records
    assert (record.message, record.component, record.gpu) == ("broker_unreachable", "relay", 3)
    assert record.error == "ConnectionError: refused"
    assert outage.is_on


def test_a_recovery_is_logged_once(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.broke(RedisConnectionError("refused"))
    for _ in range(3):
        outage.recovered()

    assert logged(caplog) == ["broker_unreachable", "broker_recovered"]
    assert not outage.is_on


def test_nothing_is_logged_of_what_never_broke(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.recovered()

    assert not logged(caplog)


@pytest.mark.parametrize("error", [OperationalError("full"), InterfaceError("closed")])
def test_an_error_of_django_is_the_databases(
    outage: Outage, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    outage.broke(error)
    outage.recovered()

    assert logged(caplog) == ["database_unreachable", "database_recovered"]


def test_what_waiting_does_not_mend_is_an_error_of_its_own(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        outage.broke(DataError("not storable"))
        outage.broke(OperationalError("refused"))
    outage.recovered()

    assert logged(caplog) == ["database_refused", "database_unreachable", "database_recovered"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "INFO"]


def test_broker_and_database_are_logged_apart(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for error in (OperationalError("refused"), OSError("refused"), OperationalError("refused")):
        outage.broke(error)
    outage.recovered()

    assert logged(caplog) == [
        "database_unreachable",
        "broker_unreachable",
        "broker_recovered",
        "database_recovered",
    ]


def test_the_next_outage_is_logged_again(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        outage.broke(OSError("refused"))
        outage.recovered()

    assert logged(caplog) == ["broker_unreachable", "broker_recovered"] * 2
