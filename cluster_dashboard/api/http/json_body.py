"""Reads JSON bodies strictly: no NaN or Infinity, and no text that a database cannot store."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from django.http import HttpRequest
from ninja.parser import Parser

from scheduler.job_type import ParamsInvalid

#: Levels of lists and objects in a body.
DEPTH_MAXIMUM: Final = 50


class StrictParser(Parser):
    def parse_body(self, request: HttpRequest) -> Any:
        return json.loads(request.body, parse_constant=_refuse_constant, parse_float=_finite)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float | int:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    # In JSON, 3.0 and 3 are the same whole number.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def check_storable(value: Any, field: str) -> None:
    """Raises ParamsInvalid with the path of the first text that a database cannot store, or of too deep nesting."""
    _check(value, field, [])


def _check(value: Any, field: str, path: list[str]) -> None:
    if len(path) > DEPTH_MAXIMUM:
        raise ParamsInvalid(field, f"is nested deeper than {DEPTH_MAXIMUM} levels")
    match value:
        case str():
            check_text(value, ".".join([field, *path]))
        case dict():
            for key, each in value.items():
                check_text(key, ".".join([field, *path]))
                _check(each, field, [*path, key])
        case list():
            for i, each in enumerate(value):
                _check(each, field, [*path, str(i)])


def check_text(text: str, field: str) -> None:
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ParamsInvalid(field[:100], "must be text without NUL characters and unpaired surrogates")
