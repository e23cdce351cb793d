"""One task in each web process: reads twice a second while a client is connected, and keeps the newest snapshot."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, Final

from django.db import close_old_connections
from redis.exceptions import RedisError

from cluster_dashboard.live.reader import Reader
from cluster_dashboard.live.snapshot import VERSION
from scheduler.database_errors import DatabaseFailure, is_unavailable
from scheduler.logs import Outage, event_logger
from scheduler.redis_client import connect

log = event_logger(__name__)

#: The page shows it when waiting does not help.
FAILED: Final = "The live view failed; the error is in the log of the web process"

SNAPSHOT_SECONDS: Final = 0.5
#: The period without clients: the series continue, at a lower load.
FEED_IDLE_SECONDS: Final = 5.0


class Hub:
    """Belongs to one event loop. `message` is what every client should show now; `version` changes with it."""

    def __init__(self) -> None:
        self.message = ""
        self.version = 0
        self._reader = Reader(connect())
        # One thread, so that the reader's database connection is always the same one.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live")
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._watchers = 0
        self._outage = Outage(log, "live view")
        self._task = asyncio.create_task(self._run())

    def enter(self) -> None:
        self._watchers += 1
        self._wanted.set()

    def leave(self) -> None:
        self._watchers -= 1
        if self._watchers == 0:
            self._wanted.clear()

    async def next(self, seen: int) -> tuple[int, str]:
        """(version, message) as soon as the version differs from `seen`: the newest message, never a backlog."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.version != seen)
            return self.version, self.message

    async def history(self) -> str | None:
        """The first message for a new client; None while broker or database is unavailable."""
        try:
            return await self._in_thread(self._reader.history)
        except (DatabaseFailure, RedisError, OSError):
            return None

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._in_thread(self._reader.close)
        self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            started = time.monotonic()
            await self._publish(await self._read())
            rest = SNAPSHOT_SECONDS - (time.monotonic() - started)
            await asyncio.sleep(max(0.05, rest))
            if self._watchers == 0:
                await self._idle()

    async def _idle(self) -> None:
        try:
            await asyncio.wait_for(self._wanted.wait(), FEED_IDLE_SECONDS)
        except TimeoutError:
            return

    async def _read(self) -> str:
        try:
            message = await self._in_thread(self._reader.snapshot)
        except (DatabaseFailure, RedisError, OSError) as error:
            self._outage.broke(error)
            if not isinstance(error, DatabaseFailure):
                return unavailable("The broker is unavailable")
            return unavailable("The database is unavailable" if is_unavailable(error) else FAILED)
        except Exception:
            # A bug in one snapshot must not end the live view for all clients.
            log.exception("snapshot_failed")
            return unavailable(FAILED)
        self._outage.recovered()
        return message

    async def _publish(self, message: str) -> None:
        async with self._changed:
            self.message = message
            self.version += 1
            self._changed.notify_all()

    async def _in_thread(self, read: Any) -> str:
        def fresh() -> str:
            close_old_connections()
            result: str = read()
            return result

        return await asyncio.get_running_loop().run_in_executor(self._thread, fresh)


@cache
def hub() -> Hub:
    """The hub of this process, started with its first client."""
    return Hub()


def unavailable(words: str) -> str:
    """The message in place of a snapshot; the page shows the words."""
    return json.dumps({"type": "unavailable", "version": VERSION, "at": time.time(), "message": words})
