"""What people type, parsed: numbers with their range, words, job ids, times, and NAME=VALUE parameters."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NoReturn

from pydantic import BaseModel, ValidationError

from cluster_dashboard.api.http.json_body import check_storable, check_text
from cluster_dashboard.api.http.validation import field_errors
from cluster_dashboard.api.schemas import BIGINT_MAXIMUM
from scheduler.job_type import ParamsInvalid
from scheduler.jobs.admission import COUNT_MAXIMUM
from scheduler.rules.job_limits import NoTimeSpan, parse_time_span, time_span
from scheduler.rules.naming import OWNER_LENGTH


def whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return parse


def owner_name(text: str) -> str:
    if len(text) > OWNER_LENGTH:
        raise ArgumentTypeError(f"a name of {len(text)} characters; it accepts at most {OWNER_LENGTH}")
    try:
        check_text(text, "owner")
    except ParamsInvalid as error:
        raise ArgumentTypeError(error.message) from None
    return text


def time_limit(maximum_seconds: int) -> Callable[[str], int]:
    """Seconds as a number, or a time with its unit."""

    def parse(text: str) -> int:
        try:
            seconds = int(text) if text.isdecimal() else parse_time_span(text)
        except NoTimeSpan:
            seconds = 0
        if not 1 <= seconds <= maximum_seconds:
            longest = f"{maximum_seconds} ({time_span(maximum_seconds)})"
            raise ArgumentTypeError(
                f"{text!r} is not a time limit from 1 to {longest} seconds, such as 300, 90s, 30m, 4h, 2d or HH:MM:SS"
            )
        return seconds

    return parse


@dataclass(frozen=True, slots=True)
class OneOf[W: str]:
    """A type for argparse: one of `words`, typed in any case. The completion of the shells offers them."""

    words: tuple[W, ...]

    def __call__(self, text: str) -> W:
        for word in self.words:
            if word.lower() == text.lower():
                return word
        raise ArgumentTypeError(f"{text!r} is not one of {', '.join(self.words)}")


def word_of[W: StrEnum](words: type[W]) -> OneOf[W]:
    return OneOf(tuple(words))


@dataclass(frozen=True, slots=True)
class Suggested:
    """A type for argparse: any text, of which completion offers `words`. The command itself checks what is typed."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        return text


def above_zero(high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value <= high:
            raise ArgumentTypeError(f"{text!r} is not a number above 0 and up to {high:g}")
        return value

    return parse


#: Above what any cluster has: whether there is such a GPU, the cluster answers.
gpu_index: Final = whole_number(0, 9_999)

_job_id: Final = whole_number(1, BIGINT_MAXIMUM)


def job_ids(text: str) -> range:
    """17, or 17-116 as `submit` prints it."""
    first, dash, last = text.partition("-")
    try:
        found = range(_job_id(first), _job_id(last if dash else first) + 1)
    except ArgumentTypeError:
        found = range(0)
    if not 1 <= len(found) <= COUNT_MAXIMUM:
        raise ArgumentTypeError(f"{text!r} is not a job's id, such as 17, or up to {COUNT_MAXIMUM} ids, such as 17-20")
    return found


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment_or_age(text: str) -> datetime:
    """An ISO time (UTC if it names no zone), or an age: 90s, 15m, 2h, 7d."""
    try:
        if text[-1:] in _UNITS:
            return datetime.now(UTC) - timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is neither an ISO time nor an age such as 90s, 15m, 2h, 7d") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# --- parameters -----------------------------------------------------------------------------------


def parse_params(model: type[BaseModel], pairs: Sequence[str]) -> dict[str, Any]:
    """The values that `model` takes. ParamsInvalid names the first wrong ones, as `params.NAME`.

    A value is JSON if it parses, else text; a parameter that is text gets what was typed, unchanged.
    """
    typed = _split(pairs)
    values = {name: _value(text) for name, text in typed.items()}
    check_storable(values, "params")
    error = _invalid(model, values)
    if error is not None:
        wanted_text = {each["loc"][0] for each in error.errors() if each["type"] == "string_type"}
        values |= {name: text for name, text in typed.items() if name in wanted_text}
        error = _invalid(model, values)
    if error is not None:
        first, *rest = field_errors(model, error, within="params")
        more = "".join(f"; {each.field.removeprefix('params.')}: {each.message}" for each in rest[:2])
        raise ParamsInvalid(first.field, f"{first.message}{more}")
    return values


def _split(pairs: Sequence[str]) -> dict[str, str]:
    typed: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise ParamsInvalid("params", f"{pair!r} is not NAME=VALUE, such as seconds=2")
        if name in typed:
            raise ParamsInvalid(f"params.{name}", "is given twice")
        typed[name] = text
    return typed


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_not_json, parse_float=_number)
    except (ValueError, RecursionError):
        return text


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> float | int:
    """1e6 is a whole number as good as 1000000."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _invalid(model: type[BaseModel], values: dict[str, Any]) -> ValidationError | None:
    try:
        # As JSON, since there strict means that true is no number, but a word of an enum is one.
        model.model_validate_json(json.dumps(values), strict=True, by_alias=True, by_name=True)
    except ValidationError as error:
        return error
    return None
