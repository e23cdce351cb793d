"""Many jobs as a table, one as its story."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cluster_dashboard.console.screen import data, state, table
from cluster_dashboard.console.text import between, duration, lines, moment
from scheduler.rules.states import JobState

if TYPE_CHECKING:
    from cluster_dashboard.api.schemas import JobDetail, JobStep, JobSummary


def job_table(jobs: Iterable[JobSummary], now: datetime) -> Table:
    columns = (">ID", "NAME", "TYPE", "PRIORITY", "STATE", ">GPU", ">ATT", ">WAITED", ">RAN", "REASON")
    return table(columns, [_row(job, now) for job in jobs], cut="NAME")


def _row(job: JobSummary, now: datetime) -> list[Text]:
    return [
        data(job.id),
        data(job.name),
        data(job.type),
        data(job.priority),
        state(job.state),
        data(job.gpu),
        data(job.attempt),
        data(duration(waited_seconds(job, now))),
        data(duration(ran_seconds(job, now))),
        data(job.reason),
    ]


def waited_seconds(job: JobSummary, now: datetime) -> float | None:
    """In the queue, this time or the last."""
    if job.state == JobState.QUEUED:
        return between(job.queued_at, now)
    started = job.started_at if job.started_at is not None and job.started_at >= job.queued_at else job.finished_at
    return between(job.queued_at, started)


def ran_seconds(job: JobSummary, now: datetime) -> float | None:
    """On its GPU, this time or the last; None where it did not run."""
    if job.state == JobState.QUEUED or job.started_at is None or job.started_at < job.queued_at:
        return None
    return between(job.started_at, now if job.state == JobState.RUNNING else job.finished_at)


# --- one job --------------------------------------------------------------------------------------


def job_story(job: JobDetail, now: datetime) -> RenderableType:
    title = Text.assemble(data(f"job {job.id} ", "dim"), data(job.name, "bold"), " ", state(job.state))
    parts: list[RenderableType] = [
        title,
        _facts(job, now),
        _heading("story (UTC)"),
        _events(job.events, job.submitted_at),
    ]
    for name, value in (("parameters", job.params), ("result", job.result)):
        if value:
            parts += [_heading(name), _indented(json.dumps(value, indent=2))]
    if job.error:
        parts += [_heading("error"), _indented(lines(job.error), "red")]
    return Group(*parts)


def _facts(job: JobDetail, now: datetime) -> Table:
    waiting = " so far" if job.state == JobState.QUEUED else ""
    running = " so far" if job.state == JobState.RUNNING else ""
    facts: list[tuple[str, Any]] = [
        ("type", job.type),
        ("priority", job.priority),
        ("submitted by", f"{job.owner}, by {job.source}" if job.owner else job.source),
        ("GPU", job.gpu),
        ("GPU memory", f"{job.gpu_memory_mib} MiB"),
        ("waited", f"{duration(waited_seconds(job, now))}{waiting}"),
        ("ran", f"{duration(ran_seconds(job, now))}{running}"),
        ("time limit", duration(job.time_limit_seconds)),
        ("failures", f"{job.failures} of {job.max_failures}"),
    ]
    if job.waits_because:
        facts.append(("waits because", job.waits_because))
    if job.progress is not None:
        facts.append(("progress", f"{job.progress:.0%}"))
    if job.cancel_requested and job.state == JobState.RUNNING:
        facts.append(("cancel", "requested"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts:
        grid.add_row(data(f"  {name}", "dim"), data(value))
    return grid


def _events(events: Iterable[JobStep], start: datetime) -> Padding:
    columns = ("AT", ">AFTER", "WHAT", ">ATT", ">GPU", "REASON", "DETAIL")
    rows = [
        [
            data(moment(event.at)),
            data(f"{max(0.0, (event.at - start).total_seconds()):.3f} s"),
            state(event.kind),
            data(event.attempt),
            data(event.gpu),
            data(f"{event.reason} (charged)" if event.charged else event.reason),
            data(event.detail),
        ]
        for event in events
    ]
    return Padding(table(columns, rows, cut="DETAIL"), (0, 0, 0, 2), expand=False)


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _indented(text: str, style: str = "") -> Text:
    return Text("\n".join(f"  {line}" for line in text.splitlines()), style=style)
