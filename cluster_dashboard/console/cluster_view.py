"""The cluster as `status` shows it: read and built as for the live page, drawn for a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connection
from redis import Redis
from redis.exceptions import RedisError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster_dashboard.console.screen import data, state, table
from cluster_dashboard.console.text import NOTHING, duration
from cluster_dashboard.live.read import (
    RedisView,
    event_before,
    outcomes_by_minute,
    read_database,
    read_events,
    read_redis,
)
from cluster_dashboard.live.snapshot import build_snapshot
from cluster_dashboard.live.window import RATE_SECONDS, Window
from scheduler.jobs.clock import database_now
from scheduler.rules.states import PRIORITY_ORDER, JobState


class Viewer:
    """Looks again and again; raises what the database raises, and starts over after that."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._window: Window | None = None
        #: The newest event that was there before the window's.
        self._after = 0

    def look(self) -> dict[str, Any]:
        """The live page's snapshot without its lanes, and `broker_error`: why the broker is away, or null.

        What only the broker knows is null while it is away.
        """
        try:
            return self._look()
        except BaseException:
            self._window = None
            connection.close()
            raise

    def _look(self) -> dict[str, Any]:
        window = self._window = self._window or self._start()
        database = read_database(window.newest_event)
        # The overlap of two reads may reach back to before our first one; what is older is counted already.
        window.add([event for event in database.events if event.id > self._after])
        window.forget(database.now)
        redis, error = self._ask_broker(database.now)
        snapshot = build_snapshot(0, database, redis, window)
        return _without_lanes(snapshot, error)

    def _start(self) -> Window:
        """Events of the last minute, for the rates; of those before them only the outcomes are counted."""
        self._after = event_before(RATE_SECONDS)
        events = read_events(self._after)
        window = Window(newest_event=self._after)
        first = events[0].at if events else database_now().timestamp()
        for minute, outcome, reason, n in outcomes_by_minute(before=first):
            window.count_outcome(minute, outcome, reason, n)
        window.add(events)
        return window

    def _ask_broker(self, now: float) -> tuple[RedisView, str | None]:
        try:
            return read_redis(self._client), None
        except (RedisError, OSError) as error:
            self._client.close()
            nothing = RedisView(now=now, beats={}, samples={}, in_redis=dict.fromkeys(PRIORITY_ORDER, 0))
            return nothing, str(error) or type(error).__name__


def _without_lanes(snapshot: dict[str, Any], broker_error: str | None) -> dict[str, Any]:
    for gpu in snapshot["gpus"]:
        del gpu["spans"]
        if broker_error is not None:
            gpu["state"] = None
    if broker_error is not None:
        for queue in snapshot["queues"].values():
            queue["in_redis"] = None
    wanted = ("version", "at", "gpus", "queues", "counts", "control", "kpi", "next", "recent", "events", "no_room")
    return {"broker_error": broker_error, **{name: snapshot[name] for name in wanted}}


# --- drawing --------------------------------------------------------------------------------------


def draw(view: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [_header(view), Text(), _gpus(view), Text(), _queues(view), Text(), _counts(view)]
    if view["broker_error"] is not None:
        words = f"the broker does not answer, so what the GPUs do is not known: {view['broker_error']}"
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
    facts += f", {kpi['finished_per_minute']:.0f} ended, median wait {duration(kpi['wait_p50_s'])}"
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
        _memory(gpu),
        _number(gpu["temperature_c"], "°C"),
        _number(gpu["power_w"], "W"),
        data(duration(gpu["heartbeat_age_s"])),
    ]


def _number(value: float | None, unit: str) -> Text:
    return data(None if value is None else f"{value:.0f} {unit}")


def _memory(gpu: dict[str, Any]) -> Text:
    used, total = gpu["memory_used_mib"], gpu["memory_total_mib"]
    if used is None:
        return data(None)
    return data(f"{used / 1024:.1f}/{NOTHING if total is None else round(total / 1024)} GiB")


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
