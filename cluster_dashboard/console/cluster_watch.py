"""The cluster as `status` shows it: read and built as for the live page."""

from __future__ import annotations

from typing import Any

from django.db import connection
from redis import Redis
from redis.exceptions import RedisError

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
from scheduler.rules.states import PRIORITY_ORDER


class Viewer:
    """Looks again and again; raises what the database raises, and starts over after that."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._window: Window | None = None
        #: The newest event that was there before the window's.
        self._after = 0

    def look(self) -> dict[str, Any]:
        """The live page's snapshot without its lanes, and `broker_error`: why the broker is unavailable, or null.

        What only the broker knows is null while it is unavailable.
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
