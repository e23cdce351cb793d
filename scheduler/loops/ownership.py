"""One living cluster for each database, and for each broker with one prefix.

The scheduler writes the same mark, a new one every two seconds, into the database and into the broker. Where the two
differ and go on changing, another cluster is at work on one of them: it would take this one's hints, and each would
judge the other's workers dead. A mark that is no longer changed expires, so a copied or restored database, a moved
state folder and a broker that was emptied are taken over by themselves.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import uuid4

from django.db import connection
from django.db.models.functions import Now
from redis import Redis
from redis.exceptions import RedisError

from scheduler.logs import event_logger
from scheduler.loops.lease import is_running
from scheduler.models import ClusterEvent, Lease
from scheduler.redis_client import KEY_PREFIX
from scheduler.rules.configuration import EnvironmentInvalid
from scheduler.rules.moments import SLACK_SECONDS

log = event_logger(__name__)

#: A mark that was not changed for this time has no living cluster.
MARK_SECONDS: Final = 8
#: Between two marks, and between two looks of a process that starts.
RENEWAL_SECONDS: Final = 2.0
MARK_LOOK_SECONDS: Final = 0.5
#: The name of the database's mark among the leases.
LEASE_NAME: Final = "ownership"
#: Marks of one writer that far apart belong together: it may have been killed between the two writes, and an
#: append-only file may lack its last second.
SAME_WITHIN: Final = 2


def mark_key() -> str:
    return f"{KEY_PREFIX}cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """place: of the database; a copy has another. space: the namespace of the pid; 0 where the system has none. number:
    rises with each mark of one writer."""

    place: int
    host: str
    space: int
    pid: int
    writer: str
    number: int

    def text(self) -> str:
        return f"{self.place}/{self.host}/{self.space}/{self.pid}/{self.writer}/{self.number}"

    def belongs_to(self, other: Mark | None) -> bool:
        if other is None or (self.place, self.writer) != (other.place, other.writer):
            return False
        return abs(self.number - other.number) <= SAME_WITHIN

    def is_of_a_dead_process(self) -> bool:
        """Known for processes of this machine alone."""
        return (self.host, self.space) == (_host(), _pid_space()) and not is_running(self.pid)


def parse_mark(text: str | None) -> Mark | None:
    """None if there is none, or what is there is not a mark."""
    try:
        place, host, space, pid, writer, number = (text or "").split("/")
        numbers = {"place": int(place), "space": int(space), "pid": int(pid), "number": int(number)}
        return Mark(host=host, writer=writer, **numbers)
    except ValueError:
        return None


def _host() -> str:
    return socket.gethostname().replace("/", "_")[:60]


def _pid_space() -> int:
    with suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return 0


class Owner(StrEnum):
    #: Both belong to this cluster, or to nobody.
    OURS = "ours"
    #: Marks differ, and it is not known yet whether somebody changes them.
    UNDECIDED = "undecided"
    BROKER_TAKEN = "broker_taken"
    DATABASE_TAKEN = "database_taken"


@dataclass(slots=True)
class _Strange:
    """A mark that is not this cluster's, as it was seen on one side. since: monotonic seconds of its last change."""

    mark: Mark
    since: float
    changes: bool = False


@dataclass(slots=True)
class MarkWatch:
    """Judges what was read, look after look. No I/O."""

    writer: str
    _broker: _Strange | None = None
    _database: _Strange | None = None

    def look(self, broker: Mark | None, database: Mark | None, now: float) -> Owner:
        """now: monotonic seconds."""
        if broker is not None and broker.belongs_to(database):
            broker = database = None
        self._broker, self._database = self._seen(broker, self._broker, now), self._seen(database, self._database, now)
        both = (self._broker, Owner.BROKER_TAKEN), (self._database, Owner.DATABASE_TAKEN)
        # Redis and the database let marks expire by wall clocks, which may have been set back.
        fresh = [(strange, taken) for strange, taken in both if strange and now - strange.since < MARK_SECONDS]
        undecided = Owner.UNDECIDED if fresh else Owner.OURS
        return next((taken for strange, taken in fresh if strange.changes), undecided)

    def _seen(self, mark: Mark | None, before: _Strange | None, now: float) -> _Strange | None:
        if mark is None or mark.writer == self.writer:
            return None
        if before is None or before.mark.writer != mark.writer:
            return _Strange(mark, since=now)
        return before if mark == before.mark else _Strange(mark, since=now, changes=True)


def database_place() -> int:
    """Tells a database from a copy of it: the number of SQLite's file, or of PostgreSQL's database."""
    if connection.vendor == "sqlite":
        return Path(connection.settings_dict["NAME"]).stat().st_ino
    with connection.cursor() as cursor:
        cursor.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
        (found,) = cursor.fetchone()
    return int(found)


def read_marks(client: Redis, place: int) -> tuple[Mark | None, Mark | None]:
    """The broker's and the database's; None where no living process wrote one. place: of this database."""
    raw = client.get(mark_key())
    stored = Lease.objects.filter(name=LEASE_NAME, expires_at__gt=Now())
    # One from the future: the clock was set back since.
    stored = stored.filter(expires_at__lte=Now() + timedelta(seconds=MARK_SECONDS + SLACK_SECONDS))
    found = (
        parse_mark(raw.decode(errors="replace") if isinstance(raw, bytes) else None),
        parse_mark(stored.values_list("holder", flat=True).first()),
    )
    broker, database = (None if mark is None or mark.is_of_a_dead_process() else mark for mark in found)
    # A copied database holds the mark of the original.
    return broker, database if database is not None and database.place == place else None


@dataclass(slots=True)
class Ownership:
    """For a loop that must not act on another cluster's jobs. renews: of all loops of a cluster, one does."""

    client: Redis
    renews: bool
    _writer: str = field(default_factory=lambda: uuid4().hex[:12])
    _place: int | None = None
    _number: int = 0
    _look_at: float = 0.0
    _owner: Owner = Owner.OURS
    _watch: MarkWatch = field(init=False)

    def __post_init__(self) -> None:
        self._watch = MarkWatch(self._writer)

    def is_ours(self, now: float) -> bool:
        """Whether the loop may act at `now` (monotonic seconds). Raises RedisError and the database's errors."""
        if now >= self._look_at:
            place = self._place = database_place() if self._place is None else self._place
            before, self._owner = self._owner, self._watch.look(*read_marks(self.client, place), now)
            self._look_at = now + RENEWAL_SECONDS
            if self._owner is Owner.OURS and self.renews:
                self._renew(place)
            self._report(before)
        return self._owner is Owner.OURS

    def _renew(self, place: int) -> None:
        self._number += 1
        mark = Mark(
            place=place,
            host=_host(),
            space=_pid_space(),
            pid=os.getpid(),
            writer=self._writer,
            number=self._number,
        ).text()
        expiry = Now() + timedelta(seconds=MARK_SECONDS)
        Lease.objects.update_or_create(name=LEASE_NAME, defaults={"holder": mark, "expires_at": expiry})
        self.client.set(mark_key(), mark, ex=MARK_SECONDS)

    def _report(self, before: Owner) -> None:
        """Once for each time."""
        taken = {Owner.BROKER_TAKEN, Owner.DATABASE_TAKEN}
        if self._owner in taken and before not in taken:
            words = f"Nothing is scheduled: {taken_words(self._owner)}"
            log.error(self._owner.value, words=words)
            if self.renews:
                ClusterEvent.objects.create(kind="ownership", message=words[:300])
        elif self._owner is Owner.OURS and before in taken:
            log.info("ownership_recovered")


def taken_words(owner: Owner) -> str:
    if owner is Owner.BROKER_TAKEN:
        return (
            f"REDIS_URL: another living cluster uses this server's database with the prefix {KEY_PREFIX}; "
            "give one of them another REDIS_PREFIX or database number, or stop the other"
        )
    return "DATABASE_URL: another living cluster, with another broker, uses this database; stop it, or use another one"


def require_ownership(client: Redis) -> None:
    """For a process that starts: returns when broker and database are this cluster's. Raises EnvironmentInvalid if a
    living cluster uses one of them; that is known within MARK_SECONDS.

    An unreachable broker is not waited for: the scheduler looks again when it is back.
    """
    watch, place = MarkWatch(writer=""), database_place()
    while True:
        try:
            owner = watch.look(*read_marks(client, place), time.monotonic())
        except RedisError as error:
            log.warning("ownership_not_checked", error=f"{type(error).__name__}: {error}")
            return
        if owner is Owner.OURS:
            return
        if owner is not Owner.UNDECIDED:
            raise EnvironmentInvalid(taken_words(owner))
        time.sleep(MARK_LOOK_SECONDS)
