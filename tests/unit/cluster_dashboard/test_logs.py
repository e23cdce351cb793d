from __future__ import annotations

import json
import logging
import logging.config
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_dashboard.logs import LineFormatter

FORGERIES = [
    "a\n12:00:00.000 ERROR forged",
    "a\r\nforged",
    "\x1b[31mred\x1b[0m",
    "a\x00b",
    "a\u2028b",
    "a\x85b",
    "a\x9b31mb",
]


def a_record(message: str = "claimed", level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": "scheduler", "msg": message, "levelno": level, **extra})
    record.levelname = logging.getLevelName(level)
    return record


def line(record: logging.LogRecord, *, as_json: bool = False, color: bool = False) -> str:
    return LineFormatter(json=as_json, color=color).format(record)


def with_exception(message: str) -> logging.LogRecord:
    try:
        raise ValueError(message)
    except ValueError:
        return a_record("tick_failed", logging.ERROR, exc_info=sys.exc_info())


def test_a_line_has_time_level_event_and_fields() -> None:
    record = a_record(job=7, gpu="gpu-1")

    time, rest = line(record).split(" ", 1)

    assert time == datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    assert rest == "INFO    claimed job=7 gpu=gpu-1"


def test_a_message_with_arguments_is_filled_in() -> None:
    assert line(a_record("started %s of %d", args=("gpu-1", 8))).endswith(" started gpu-1 of 8")


@pytest.mark.parametrize("text", FORGERIES)
@pytest.mark.parametrize("place", ["message", "field"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_forged_text_stays_on_its_line_and_cannot_colour_the_terminal(text: str, place: str, as_json: bool) -> None:
    record = a_record(text) if place == "message" else a_record(error=text)

    written = line(record, as_json=as_json)

    assert written.splitlines() == [written]
    assert written.isprintable()


@given(text=st.text())
def test_no_text_at_all_breaks_a_line(text: str) -> None:
    assert line(a_record("failed", error=text)).isprintable()
    assert line(a_record("failed", error=text), as_json=True).isprintable()


@pytest.mark.parametrize(
    ("level", "code"), [(logging.WARNING, "\x1b[33m"), (logging.ERROR, "\x1b[31m"), (logging.DEBUG, "\x1b[2m")]
)
def test_colour_shows_the_level_where_it_is_asked_for(level: int, code: str) -> None:
    coloured = line(a_record(level=level), color=True)

    assert coloured.startswith(code)
    assert coloured.endswith("\x1b[0m")
    assert "\x1b" not in line(a_record(level=level))


def test_an_everyday_line_has_no_colour() -> None:
    assert "\x1b" not in line(a_record(), color=True)


def test_json_has_the_event_and_each_field_of_its_own() -> None:
    record = a_record(job=7, error='quote " and \\')

    found = json.loads(line(record, as_json=True))

    assert datetime.fromisoformat(found.pop("at")).timestamp() == pytest.approx(record.created, abs=0.001)
    assert found == {
        "level": "INFO",
        "logger": "scheduler",
        "event": "claimed",
        "job": 7,
        "error": 'quote " and \\',
    }


def test_json_takes_a_value_that_json_does_not_know() -> None:
    assert json.loads(line(a_record(error=ValueError("no")), as_json=True))["error"] == "no"


def test_an_exception_is_reported_with_its_traceback() -> None:
    record = with_exception("no such job")

    assert "ValueError: no such job" in line(record)
    assert "Traceback" in json.loads(line(record, as_json=True))["exception"]


def test_a_message_that_could_not_be_acknowledged_is_one_line(settings: Any) -> None:
    try:
        raise ConnectionError("the broker went away")
    except ConnectionError:
        record = logging.getLogger("celery.worker.request").makeRecord(
            "celery.worker.request", logging.CRITICAL, "", 0, "Couldn't ack %r", ("7-1",), sys.exc_info()
        )

    logging.config.dictConfig(settings.LOGGING | {"disable_existing_loggers": False})
    logger = logging.getLogger("celery.worker.request")
    assert logger.filter(record)

    assert len(LineFormatter(json=False, color=False).format(record).splitlines()) == 1
