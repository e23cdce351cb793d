"""The history as CSV and JSON Lines, page by page, so that the memory does not grow with the number of jobs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from scheduler.models import Job

FIELDS: Final = (
    "id", "name", "type", "priority", "source", "owner", "state", "reason", "attempt", "failures", "gpu",
    "submitted_at", "started_at", "finished_at", "error", "params", "result",
)  # fmt: skip

#: The number of jobs read at once, newest first.
PAGE: Final = 1000

#: A spreadsheet reads a cell that starts with one of these as a formula (OWASP, "CSV Injection"), also in full width.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

type Row = Sequence[Any]


def csv_pages(jobs: QuerySet[Job]) -> Iterator[str]:
    yield _csv([FIELDS])
    for page in _pages(jobs):
        yield _csv([_cell(value) for value in row] for row in page)


def json_pages(jobs: QuerySet[Job]) -> Iterator[str]:
    """One object a line; times in ISO 8601."""
    for page in _pages(jobs):
        yield "".join(f"{json.dumps(dict(zip(FIELDS, row, strict=True)), default=_iso)}\n" for row in page)


def _pages(jobs: QuerySet[Job]) -> Iterator[list[Row]]:
    """By key, not by offset: each page costs the same, and jobs that are submitted meanwhile shift nothing."""
    jobs = jobs.order_by("-id")
    after: int | None = None
    while True:
        rest = jobs if after is None else jobs.filter(id__lt=after)
        page = list(rest.values_list(*FIELDS)[:PAGE])
        if not page:
            return
        yield page
        after = page[-1][0]


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case dict() | list():
            return json.dumps(value)
        case str():
            return unformulated(value)
        case _:
            return value


def unformulated(text: str) -> str:
    """With an apostrophe in front, which makes a spreadsheet read the cell as text."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _iso(value: datetime) -> str:
    return value.isoformat()
