"""Jobs as streams of server-sent events. One task reads the followed jobs of all streams twice a second."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from itertools import batched
from typing import Final
from weakref import WeakKeyDictionary

from django.db import close_old_connections, connection
from django.http import HttpRequest
from redis.exceptions import RedisError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.http.open_stream import OpenStream
from cluster_dashboard.api.job_detail import read_job
from scheduler.database_errors import DatabaseFailure
from scheduler.logs import Outage, event_logger
from scheduler.loops.samples import NO_SAMPLE, LiveSample, read_samples
from scheduler.models import Job
from scheduler.rules.states import TERMINAL_STATES, JobState

log = event_logger(__name__)

FOLLOW_SECONDS: Final = 0.5
#: A comment is sent after this time without an event, so that no proxy closes the stream as idle.
KEEP_ALIVE_SECONDS: Final = 15.0
#: A stream ends after this; browsers reconnect by themselves.
LENGTH_MAXIMUM_SECONDS: Final = 3600.0
IDS_IN_ONE_QUERY: Final = 500


def story_of(request: HttpRequest, job_id: int) -> OpenStream:
    """Raises Problem 503 if too many streams are open."""
    return OpenStream(request, _events(job_id))


async def _events(job_id: int) -> AsyncGenerator[bytes]:
    sent = -1
    async with aclosing(_watch().changes(job_id)) as changes:
        async for seen in changes:
            if seen is None:
                yield b": waiting\n\n"
            elif seen.event_count == sent:
                yield _event("progress", json.dumps({"progress": seen.progress}))
            else:
                job = await _watch().detail(job_id)
                if job is None:
                    return
                sent = seen.event_count
                yield _event("job", job, number=sent)
                if seen.state in TERMINAL_STATES:
                    return


def _event(name: str, data: str, *, number: int | None = None) -> bytes:
    line = "" if number is None else f"id: {number}\n"
    return f"{line}event: {name}\ndata: {data}\n\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedJob:
    event_count: int
    state: str
    progress: float | None


class Watch:
    """Belongs to one event loop. Reads all jobs that clients follow; its task ends when there are none."""

    def __init__(self) -> None:
        self._followers: Counter[int] = Counter()
        self._seen: dict[int, FollowedJob] = {}
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._outage = Outage(log, "follow")
        # One thread, so that the database connection is always the same one.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="follow")

    async def changes(self, job_id: int) -> AsyncGenerator[FollowedJob | None]:
        """The job's state at once and after each change; None after KEEP_ALIVE_SECONDS without a change."""
        ends_at = asyncio.get_running_loop().time() + LENGTH_MAXIMUM_SECONDS
        last: FollowedJob | None = None
        self._enter(job_id)
        try:
            while (left := ends_at - asyncio.get_running_loop().time()) > 0:
                try:
                    found = await asyncio.wait_for(self._next(job_id, last), min(left, KEEP_ALIVE_SECONDS))
                except TimeoutError:
                    yield None
                    continue
                if found is None:
                    return
                last = found
                yield found
        finally:
            self._leave(job_id)

    async def detail(self, job_id: int) -> str | None:
        """The job as JSON; None if it cannot be read: the stream ends, and the client reconnects."""
        return await self._in_thread(_read_detail, job_id)

    async def end(self) -> None:
        """Ends every stream."""
        async with self._changed:
            self._ending = True
            self._changed.notify_all()

    async def _next(self, job_id: int, last: FollowedJob | None) -> FollowedJob | None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ending or self._seen.get(job_id, last) != last)
            return None if self._ending else self._seen[job_id]

    def _enter(self, job_id: int) -> None:
        self._followers[job_id] += 1
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def _leave(self, job_id: int) -> None:
        self._followers[job_id] -= 1
        if self._followers[job_id] <= 0:
            del self._followers[job_id]
            self._seen.pop(job_id, None)
        if not self._followers:
            self._wanted.set()  # the task ends at once

    async def _run(self) -> None:
        while self._followers:
            self._wanted.clear()
            await self._look()
            try:
                # A new follower is served at once.
                await asyncio.wait_for(self._wanted.wait(), FOLLOW_SECONDS)
            except TimeoutError:
                continue
        await self._in_thread(_close_connection)

    async def _look(self) -> None:
        try:
            found = await self._in_thread(_read, list(self._followers))
        except DatabaseFailure as error:
            # The streams stay open, and continue when the database has recovered.
            self._outage.broke(error)
            return
        self._outage.recovered()
        async with self._changed:
            self._seen = {job_id: seen for job_id, seen in found.items() if job_id in self._followers}
            self._changed.notify_all()

    async def _in_thread[*Args, R](self, function: Callable[[*Args], R], *args: *Args) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()


def _watch() -> Watch:
    """The watch of this event loop: a web process has one loop, a test run many."""
    loop = asyncio.get_running_loop()
    if loop not in _watches:
        _watches[loop] = Watch()
    return _watches[loop]


def end_streams() -> None:
    """Called when the process is to stop, which open streams would delay. Safe in a signal handler."""
    for loop, watch in list(_watches.items()):
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(watch.end(), loop)


def _read(job_ids: list[int]) -> dict[int, FollowedJob]:
    close_old_connections()
    rows: list[tuple[int, int, str, int, int | None]] = []
    for some in batched(job_ids, IDS_IN_ONE_QUERY):
        rows += Job.objects.filter(id__in=some).values_list("id", "event_count", "state", "attempt", "gpu")
    samples = _samples() if any(row[2] == JobState.RUNNING for row in rows) else {}
    return {
        job_id: FollowedJob(
            event_count=event_count,
            state=state,
            progress=None
            if gpu is None or state != JobState.RUNNING
            else samples.get(gpu, NO_SAMPLE).progress_of(job_id, attempt),
        )
        for job_id, event_count, state, attempt, gpu in rows
    }


def _samples() -> dict[int, LiveSample]:
    """By GPU; empty while Redis is unavailable: the stream then has no progress."""
    try:
        return read_samples(client())
    except (RedisError, OSError):
        return {}


def _read_detail(job_id: int) -> str | None:
    try:
        job = read_job(job_id)
    except DatabaseFailure as error:
        log.warning("stream_ended", job=job_id, error=f"{type(error).__name__}: {error}")
        return None
    return None if job is None else job.model_dump_json()


def _close_connection() -> None:
    """A function, to be called in the thread whose connection it closes."""
    connection.close()
