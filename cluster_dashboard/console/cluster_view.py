"""The cluster as `status` shows it, drawn for a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster_dashboard.console.screen import data, state, table
from cluster_dashboard.console.text import duration, memory
from scheduler.rules.states import JobState


def draw(view: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [_header(view), Text(), _gpus(view), Text(), _queues(view), Text(), _counts(view)]
    if view["broker_error"] is not None:
        words = f"the broker is unavailable, so what the GPUs do is unknown: {view['broker_error']}"
        parts += [Text(), data(words, "bold red")]
    if view["no_room"] is not None:
        parts += [Text(), data(f"new jobs are refused: {view['no_room']['words']}", "bold yellow")]
    return Group(*parts)


def _header(view: dict[str, Any]) -> Text:
    control, kpi = view["control"], view["kpi"]
    at = datetime.fromtimestamp(view["at"], UTC).strftime("%H:%M:%S UTC")
    preset = f" ({control['preset']})" if control["preset"] else ""
    arriving = Text(" paused", "bold yellow") if control["paused"] else Text()
    facts = (
        f"{kpi['busy']} of {len(view['gpus'])} GPUs busy; in the last minute {kpi['arrived_per_minute']:.0f} arrived"
    )
    facts += f", {kpi['finished_per_minute']:.0f} finished, median wait {duration(kpi['wait_p50_s'])}"
    rate = data(f"rate {control['rate_per_minute']:g} / min{preset}", "bold")
    return Text.assemble(data(f"{at}  ", "dim"), rate, arriving, "\n", data(facts))


def _gpus(view: dict[str, Any]) -> Table:
    columns = (">GPU", "STATE", "JOB", ">DONE", ">UTIL", ">MEMORY", ">TEMP", ">POWER", ">BEAT")
    return table(columns, [_gpu(gpu, view["at"]) for gpu in view["gpus"]], cut="JOB")


def _gpu(gpu: dict[str, Any], now: float) -> list[Text]:
    job = gpu["job"]
    progress = None if job is None or job["progress"] is None else f"{job['progress']:.0%}"
    return [
        data(gpu["index"]),
        state(gpu["state"] or "unknown"),
        data(gpu["note"], "dim") if job is None else data(f"{job['id']} {job['name']}"),
        data(progress),
        _number(gpu["utilization_percent"], "%"),
        data(memory(gpu["memory_used_mib"], gpu["memory_total_mib"])),
        _number(gpu["temperature_c"], "°C"),
        _number(gpu["power_w"], "W"),
        data(duration(gpu["heartbeat_age_s"])),
    ]


def _number(value: float | None, unit: str) -> Text:
    return data(None if value is None else f"{value:.0f} {unit}")


def _queues(view: dict[str, Any]) -> Table:
    rows = [
        [data(name), data(queue["waiting"]), data(duration(queue["oldest_s"])), data(queue["in_redis"])]
        for name, queue in view["queues"].items()
    ]
    return table(("QUEUE", ">WAITING", ">OLDEST", ">IN REDIS"), rows)


def _counts(view: dict[str, Any]) -> Text:
    counts = view["counts"]
    parts = [data(f"{counts['submitted']} submitted: "), *(_count(word, counts[word]) for word in JobState)]
    return Text.assemble(*parts)


def _count(word: JobState, n: int) -> Text:
    return Text.assemble(data(n, "bold"), " ", state(word), "  ")
