"""The blocking half of the live view: reads, fills the window, returns JSON. Always used from one thread."""

from __future__ import annotations

import json
from typing import Any, Final

from django.db import connection
from redis import Redis

from cluster_dashboard.live.read import (
    Happened,
    event_before,
    outcomes_by_minute,
    read_database,
    read_events,
    read_redis,
)
from cluster_dashboard.live.snapshot import VERSION, build_snapshot
from cluster_dashboard.live.window import SPAN_SECONDS, SeriesPoint, Window, mean
from scheduler.jobs.clock import database_now
from scheduler.loops.samples import HistoryPoint, read_history
from scheduler.rules.moments import SLACK_SECONDS, age

#: Seconds between two points of the series.
POINT_SECONDS: Final = 1.0
#: Seconds between two points of the time before this process started to read.
REPLAY_STEP_SECONDS: Final = 5.0

type History = dict[int, list[HistoryPoint]]


class Reader:
    """Raises DatabaseFailure or RedisError while database or broker is unavailable; the next call tries again."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._window: Window | None = None
        self._seq = 0
        self._next_point = 0.0
        self._read_at = 0.0
        self._indexes: list[int] = []

    def snapshot(self) -> str:
        window = self._open()
        database = read_database(window.newest_event)
        if database.now < self._read_at - SLACK_SECONDS:
            self._window, self._next_point = None, 0.0
            window = self._open()
        self._read_at = database.now
        redis = read_redis(self._redis)
        window.add(database.events)
        window.forget(database.now)
        self._seq += 1
        self._indexes = [gpu.index for gpu in database.gpus]
        snapshot = build_snapshot(self._seq, database, redis, window)
        if database.now >= self._next_point:
            self._next_point = database.now + POINT_SECONDS
            window.add_point(SeriesPoint(**snapshot["point"]))
        return _json(snapshot)

    def history(self) -> str:
        window, now = self._open(), database_now().timestamp()
        history = read_history(self._redis, self._indexes, now - SPAN_SECONDS)
        return _json(
            {
                "type": "history",
                "version": VERSION,
                "at": now,
                "span_s": SPAN_SECONDS,
                "gpus": [
                    {"index": gpu, "utilization": [[point.at, point.utilization_percent] for point in points]}
                    for gpu, points in history.items()
                ],
                "spans": window.spans(),
                "series": window.series(),
            }
        )

    def close(self) -> str:
        connection.close()
        self._redis.close()
        return ""

    def _open(self) -> Window:
        if self._window is None:
            before = event_before(SPAN_SECONDS)
            events = read_events(before)
            now = database_now().timestamp()
            history = read_history(self._redis, {event.gpu for event in events if event.gpu is not None}, 0)
            # Events from before the clock was set back would stay in the rates until it has caught up.
            before = max((event.id for event in events if age(now, event.at) is None), default=before)
            events = [event for event in events if event.id > before]
            window = Window(newest_event=before, before=before)
            for minute, state, reason, n in outcomes_by_minute(before=events[0].at if events else now):
                window.count_outcome(minute, state, reason, n)
            replay(window, events, history, now)
            self._window = window
        return self._window


def replay(window: Window, events: list[Happened], history: History, now: float) -> None:
    """Rebuilds the last minutes from the events, so that the page is not empty after a restart of the web process."""
    rest = list(events)
    at = now - SPAN_SECONDS
    while at < now:
        at += REPLAY_STEP_SECONDS
        due = [event for event in rest if event.at <= at]
        rest = rest[len(due) :]
        window.add(due)
        window.forget(at)
        if events and at >= events[0].at:
            utilization, power = _gpu_means(history, at)
            window.add_point(SeriesPoint(t=at, **window.rates(), utilization_percent=utilization, power_w=power))
    window.add(rest)


def _gpu_means(history: History, at: float) -> tuple[float | None, float | None]:
    """Mean utilization of the GPUs and the power of all of them, over the step that ends at `at`."""
    near = [point for points in history.values() for point in points if at - REPLAY_STEP_SECONDS < point.at <= at]
    power = mean(point.power_w for point in near)
    return mean(point.utilization_percent for point in near), None if power is None else power * len(history)


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"), allow_nan=False)
