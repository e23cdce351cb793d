"""Reads a trace: a CSV file with a job in each row. Which column means what, for the traces that are known."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

from scheduler.arrivals.replay import Trace


class TraceInvalid(ValueError):
    """Names the line or the column, and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFormat:
    """The columns' names. submitted: seconds, or a date and time (taken as UTC; only differences count).

    duration: seconds; or else started and ended, in seconds. gpus: how many, 0 for a job without.
    gpu_milli: thousandths of its GPU that a job with one GPU was given.
    """

    submitted: str
    gpus: str
    duration: str = ""
    started: str = ""
    ended: str = ""
    gpu_milli: str = ""

    def columns(self) -> dict[str, str]:
        """Meaning to column, of the columns that this format has."""
        return {name: column for name in self.__slots__ if (column := getattr(self, name))}


#: Add a row for a trace with other columns; a file can be described in its configuration too.
TRACE_FORMATS: Final[dict[str, TraceFormat]] = {
    "plain": TraceFormat(submitted="submitted", duration="duration", gpus="gpus"),
    # Microsoft's Philly (Jeon et al., ATC'19) as the Pollux simulator keeps it: a subset of 82,247 jobs, lighter
    # than the whole (93 % ask for one GPU, against 82 %; mean run 13,136 s, against 18,006 s).
    "philly": TraceFormat(submitted="timestamp", duration="duration", gpus="num_gpus"),
    # Alibaba's cluster-trace-gpu-v2023 (Weng et al., ATC'23), openb_pod_list_*.csv.
    "openb": TraceFormat(
        submitted="creation_time",
        started="scheduled_time",
        ended="deletion_time",
        gpus="num_gpu",
        gpu_milli="gpu_milli",
    ),
    # Tiresias (Gu et al., NSDI'19), simulator/60_job.csv.
    "tiresias": TraceFormat(submitted="submit_time", duration="duration", gpus="num_gpu"),
}


def trace_format(name: str, columns: Mapping[Any, str]) -> TraceFormat:
    """A known format with some columns named otherwise."""
    return replace(TRACE_FORMATS[name], **columns)


@dataclass(frozen=True, slots=True)
class _Row:
    submitted_s: float
    seconds: float
    gpus: int
    load: float


def read_trace(path: Path, form: TraceFormat) -> Trace:
    """The jobs that ran on a GPU. Those without a GPU, and those that never started or ended, are left out."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = sorted(_rows(csv.DictReader(file), form), key=lambda row: row.submitted_s)
    if not rows:
        raise TraceInvalid("holds no job that ran on a GPU")
    first = rows[0].submitted_s
    return Trace(
        offsets_us=array("q", (round((row.submitted_s - first) * 1e6) for row in rows)),
        seconds=array("d", (row.seconds for row in rows)),
        gpus=array("l", (row.gpus for row in rows)),
        loads=array("d", (row.load for row in rows)) if form.gpu_milli else None,
    )


def _rows(reader: csv.DictReader[str], form: TraceFormat) -> Iterator[_Row]:
    _check_header(reader.fieldnames or (), form)
    for record in reader:
        try:
            row = _row(record, form)
        except ValueError as error:
            raise TraceInvalid(f"line {reader.line_num}: {error}") from None
        if row is not None:
            yield row


def _check_header(header: Iterable[str], form: TraceFormat) -> None:
    there = list(header)
    for meaning, column in form.columns().items():
        if column not in there:
            raise TraceInvalid(f"has no column {column!r} for {meaning!r}; it has {', '.join(there) or 'no header'}")


def _row(record: Mapping[str, str | None], form: TraceFormat) -> _Row | None:
    values = {meaning: (record[column] or "").strip() for meaning, column in form.columns().items()}
    if not all(values.values()):
        return None  # it never started or has no end
    gpus = int(_number("gpus", values["gpus"]))
    if gpus == 0:
        return None
    if form.duration:
        seconds = _number("duration", values["duration"])
    else:
        seconds = _number("ended", values["ended"]) - _number("started", values["started"])
    if seconds < 0:
        raise ValueError(f"duration: {seconds} s is below 0")
    milli = _number("gpu_milli", values["gpu_milli"]) if form.gpu_milli else 1000.0
    return _Row(_instant(values["submitted"]), seconds, gpus, min(1.0, milli / 1000.0))


def _number(meaning: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{meaning}: {text!r} is not a number") from None
    if not isfinite(number) or number < 0:
        raise ValueError(f"{meaning}: {text!r} is not a number from 0 up")
    return number


def _instant(text: str) -> float:
    """Seconds since some epoch. A number is never a date: 20171009 is a number of seconds."""
    with suppress(ValueError):
        number = float(text)
        if isfinite(number):
            return number
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"submitted: {text!r} is neither seconds nor a date and time") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
