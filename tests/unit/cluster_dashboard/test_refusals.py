"""What anybody can make the web process log: one line for each refusal, and ten a minute."""

from __future__ import annotations

import io
import logging
import logging.config
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import Client

from cluster_dashboard.logs import LineFormatter
from cluster_dashboard.refusals import LINES_A_MINUTE, WORDS_MAXIMUM, OneLineRefusals

WRONG_HOST = "x" * 300 + ".example"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> Iterator[io.StringIO]:
    """What the handler of the settings writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(json=False, color=False))
    handler.addFilter(OneLineRefusals(clock))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def test_wrong_host_is_one_short_line_without_a_traceback(log: io.StringIO) -> None:
    assert Client().get("/api/openapi.json", headers={"host": WRONG_HOST}).status_code == 400

    (line,) = log.getvalue().splitlines()
    assert "WARNING request_refused reason=DisallowedHost detail=" in line
    assert len(line) < WORDS_MAXIMUM + 100


def test_refusals_beyond_the_rate_are_counted(log: io.StringIO, clock: Clock) -> None:
    for _ in range(LINES_A_MINUTE + 500):
        logging.getLogger("django.security.DisallowedHost").error("Invalid HTTP_HOST header")
    assert len(log.getvalue().splitlines()) == LINES_A_MINUTE

    clock.now += 60
    logging.getLogger("django.security.DisallowedHost").error("Invalid HTTP_HOST header")

    assert len(log.getvalue().splitlines()) == LINES_A_MINUTE + 1
    assert log.getvalue().endswith(" not_logged=500\n")


def test_each_reason_has_its_own_lines(log: io.StringIO) -> None:
    for _ in range(LINES_A_MINUTE + 1):
        logging.getLogger("django.security.DisallowedHost").error("Invalid HTTP_HOST header")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")

    assert log.getvalue().endswith("request_refused reason=http detail=Invalid HTTP request received.\n")


def test_errors_of_the_cluster_itself_are_never_counted_away(log: io.StringIO) -> None:
    for _ in range(LINES_A_MINUTE * 2):
        logging.getLogger("uvicorn.error").error("Exception in ASGI application")
        logging.getLogger("scheduler.loops").warning("broker_unreachable")

    assert len(log.getvalue().splitlines()) == LINES_A_MINUTE * 4


def test_the_settings_log_so() -> None:
    handlers = settings.LOGGING["handlers"]

    assert settings.LOGGING["root"]["handlers"] == ["stderr"] == list(handlers)
    assert handlers["stderr"]["filters"] == ["refusals"]
    assert settings.LOGGING["filters"]["refusals"]["()"] == f"{OneLineRefusals.__module__}.{OneLineRefusals.__name__}"
