"""Whether there is room for more jobs. They are refused before the disk or the broker is full.

No check waits for the broker: a thread reads its memory, and a broker that is unavailable refuses nothing.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection
from redis import Redis
from redis.exceptions import RedisError

from scheduler.models import Tally
from scheduler.redis_client import connect
from scheduler.rules.states import JobState

#: Disk space for a job's row, events and witness lines until it has ended; an upper estimate.
BYTES_FOR_EACH_JOB: Final = 8 * 1024

#: Above this share of its maxmemory the broker counts as nearly full.
BROKER_SHARE_MAXIMUM: Final = 0.9

#: The broker's memory is read at most once in the first interval; a reading is used for at most the second one.
REFRESH_SECONDS: Final = 1.0
SHARE_BELIEVED_SECONDS: Final = 10.0

_MIB: Final = 1024 * 1024


class Lack(StrEnum):
    DISK = "disk_nearly_full"
    QUEUE = "too_many_queued"
    BROKER = "broker_nearly_full"


#: Seconds after which a refused submission may be sent again.
RETRY_AFTER: Final = {Lack.DISK: 60, Lack.QUEUE: 10, Lack.BROKER: 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    lack: Lack
    words: str

    @property
    def retry_after_seconds(self) -> int:
        return RETRY_AFTER[self.lack]


class NoRoom(Exception):
    """Raised before anything was done; `shortage` is for the caller to report."""

    def __init__(self, shortage: Shortage) -> None:
        super().__init__(shortage.words)
        self.shortage = shortage


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """broker_share: share of its maxmemory in use; None: unknown, or no limit is set."""

    free_bytes: int
    queued: int
    broker_share: float | None = None


def look(broker_share: float | None = None) -> Room:
    return Room(free_bytes=_free_bytes(), queued=Tally.objects.total(JobState.QUEUED), broker_share=broker_share)


def shortage_in(room: Room, count: int = 1) -> Shortage | None:
    """Why `count` more jobs would be too many; None: there is room for them."""
    floor = settings.DISK_FREE_MIN_BYTES
    if floor and room.free_bytes - count * BYTES_FOR_EACH_JOB < floor:
        free = f"{room.free_bytes / _MIB:,.0f} MiB free"
        return Shortage(
            lack=Lack.DISK,
            words=f"The disk is nearly full: {free}; {floor / _MIB:,.0f} MiB are reserved (DISK_FREE_MIN_MIB).",
        )
    if room.queued + count > settings.QUEUED_MAX:
        words = f"{room.queued:,} jobs are queued; {count:,} more would exceed {settings.QUEUED_MAX:,} (QUEUED_MAX)."
        return Shortage(lack=Lack.QUEUE, words=words)
    if room.broker_share is not None and room.broker_share > BROKER_SHARE_MAXIMUM:
        used = f"{100 * room.broker_share:.0f} % of its maxmemory is in use"
        return Shortage(lack=Lack.BROKER, words=f"The broker is nearly full: {used}.")
    return None


def check_room(count: int, broker_share: float | None) -> None:
    """Raises NoRoom if `count` more jobs would be too many."""
    shortage = shortage_in(look(broker_share), count)
    if shortage is not None:
        raise NoRoom(shortage)


def _free_bytes() -> int:
    """Of the fullest disk that this host writes to; the disk of a database server is not watched here."""
    folders = {Path(settings.STATE_DIR)}
    if connection.vendor == "sqlite":
        folders.add(Path(connection.settings_dict["NAME"]).parent)
    return min(shutil.disk_usage(folder).free for folder in folders if folder.exists())


# --- the broker -----------------------------------------------------------------------------------


def read_broker_share(client: Redis) -> float | None:
    """Raises RedisError if the broker is unavailable."""
    memory = client.info("memory")
    maximum = int(memory.get("maxmemory") or 0)
    return int(memory["used_memory"]) / maximum if maximum else None


def broker_share_now(client: Redis) -> float | None:
    """For a process that asks once; waits for the broker up to the client's timeout. None: unknown."""
    try:
        return read_broker_share(client)
    except (RedisError, OSError):
        return None


def broker_share() -> float | None:
    """The last reading, without waiting; None at the first call, and while the broker is unavailable."""
    return _broker_watch(settings.REDIS_URL).share()


class BrokerWatch:
    def __init__(self, client: Redis) -> None:
        self._client = client
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker-memory")
        self._reading: Future[None] | None = None
        self._asked_at = self._read_at = float("-inf")
        self._share: float | None = None

    def share(self) -> float | None:
        now = time.monotonic()
        if now - self._asked_at >= REFRESH_SECONDS and (self._reading is None or self._reading.done()):
            self._asked_at = now
            self._reading = self._thread.submit(self._read)
        return self._share if now - self._read_at < SHARE_BELIEVED_SECONDS else None

    def _read(self) -> None:
        try:
            self._share = read_broker_share(self._client)
            self._read_at = time.monotonic()
        except (RedisError, OSError):
            # The last reading becomes too old. Other parts of the process log that the broker is unreachable.
            return


@cache
def _broker_watch(url: str) -> BrokerWatch:
    """One watch for this process and broker."""
    return BrokerWatch(connect(timeout_seconds=0.5))
