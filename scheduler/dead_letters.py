"""The dead letters that the guard keeps: read, counted, and dropped by people."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from redis import Redis

from scheduler.guard import dead_letter_count_key, dead_letters_key
from scheduler.models import ClusterEvent

#: Characters of a digest that name a letter; a thousand are kept at most.
ID_LENGTH: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """id: made of what is kept of it. size: bytes of the whole message, of which `content` may be the beginning."""

    id: str
    at: datetime
    queue: str
    reason: str
    size: int
    content: bytes

    @property
    def is_whole(self) -> bool:
        return len(self.content) == self.size

    @property
    def text(self) -> str:
        """What is no UTF-8 stands as \\x.."""
        return self.content.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """kept: those that can be looked at. total: all since the broker was last emptied."""

    kept: int
    total: int


def count(client: Redis) -> Counts:
    pipe = client.pipeline(transaction=False)
    pipe.llen(dead_letters_key())
    pipe.get(dead_letter_count_key())
    kept, total = pipe.execute()
    return Counts(kept=int(kept), total=max(int(kept), int(total or 0)))


def read(client: Redis, *, offset: int = 0, limit: int = -1) -> list[DeadLetter]:
    """Newest first. limit: -1 gives all."""
    last = -1 if limit < 0 else offset + limit - 1
    return [] if limit == 0 else [_letter(raw) for raw in client.lrange(dead_letters_key(), offset, last)]


def find(client: Redis, letter_id: str) -> DeadLetter | None:
    return next((_letter(raw) for raw in _raw_with(client, letter_id)), None)


def drop(client: Redis, letter_id: str, *, actor: str) -> bool:
    """Whether it was there. Who dropped it, and what it was, stays in the audit."""
    dropped = [_letter(raw) for raw in _raw_with(client, letter_id) if client.lrem(dead_letters_key(), 0, raw)]
    if dropped:
        first = dropped[0]
        _audit(actor, "Dead letter dropped", {"id": first.id, "queue": first.queue, "reason": first.reason[:300]})
    return bool(dropped)


def drop_all(client: Redis, *, actor: str) -> int:
    """How many there were; one that comes meanwhile stays."""
    pipe = client.pipeline(transaction=True)
    pipe.llen(dead_letters_key())
    pipe.delete(dead_letters_key())
    dropped = int(pipe.execute()[0])
    if dropped:
        words = "1 dead letter dropped" if dropped == 1 else f"{dropped} dead letters dropped"
        _audit(actor, words, {"dropped": dropped})
    return dropped


def _raw_with(client: Redis, letter_id: str) -> Iterator[bytes]:
    return (raw for raw in client.lrange(dead_letters_key(), 0, -1) if _id_of(raw) == letter_id)


def _id_of(raw: bytes) -> str:
    return sha256(raw).hexdigest()[:ID_LENGTH]


def _letter(raw: bytes) -> DeadLetter:
    kept: dict[str, Any] = json.loads(raw)
    return DeadLetter(
        id=_id_of(raw),
        at=datetime.fromtimestamp(kept["at"], UTC),
        queue=kept["queue"],
        reason=kept["reason"],
        size=kept["size"],
        content=base64.b64decode(kept["base64"]),
    )


def _audit(actor: str, sentence: str, before: dict[str, Any]) -> None:
    ClusterEvent.objects.create(kind="dead_letter", actor=actor, message=f"{sentence}, by {actor}"[:300], before=before)
