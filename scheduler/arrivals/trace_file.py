"""Reads a trace, a CSV file with one job in each row; and the column names of the known traces."""

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
    """The message names the line or the column, and the error in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFormat:
    """The names of the columns. submitted: seconds, or a date and time (read as UTC; only differences matter).

    duration: seconds; or started and ended, in seconds. gpus: the number of GPUs, 0 for a job without a GPU.
    gpu_milli: the thousandths of a GPU that a job with one GPU was assigned.
    """

    submitted: str
    gpus: str
    duration: str = ""
    started: str = ""
    ended: str = ""
    gpu_milli: str = ""

    def columns(self) -> dict[str, str]:
        """The columns of this format by their meaning."""
        return {name: column for name in self.__slots__ if (column := getattr(self, name))}


#: Add a row for a trace with other columns, or name its columns in the workload file.
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
    """A known format with some columns renamed."""
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
        raise TraceInvalid("contains no job that ran on a GPU")
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
    present = list(header)
    columns = ", ".join(present) or "none"
    for meaning, column in form.columns().items():
        if column not in present:
            raise TraceInvalid(f"has no column {column!r} for {meaning!r}; its columns are: {columns}")


def _row(record: Mapping[str, str | None], form: TraceFormat) -> _Row | None:
    values = {meaning: (record[column] or "").strip() for meaning, column in form.columns().items()}
    if not all(values.values()):
        return None  # never started, or never ended
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
        raise ValueError(f"{meaning}: {text!r} must be a finite number, 0 or more")
    return number


def _instant(text: str) -> float:
    """Seconds since some epoch. A number is always seconds, never a date: 20171009 too."""
    with suppress(ValueError):
        number = float(text)
        if isfinite(number):
            return number
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"submitted: {text!r} is neither seconds nor a date and time") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
