"""The dead letters that the guard keeps: read, counted, and dropped by people."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, cast

from django.db import transaction
from redis import Redis

from scheduler.broker.guard import DEAD_LETTER_BYTES, dead_letter_count_key, dead_letters_key
from scheduler.models import ClusterEvent

#: Characters of a digest that name a letter; a thousand are kept at most.
ID_LENGTH: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """id: made of what is kept of it. size: bytes of the whole message, of which `kept` may be the beginning."""

    id: str
    at: datetime
    queue: str
    reason: str
    size: int
    kept: bytes

    @property
    def is_whole(self) -> bool:
        return len(self.kept) == self.size

    @property
    def content(self) -> str:
        """What is no UTF-8 stands as \\x.."""
        return self.kept.decode(errors="backslashreplace")


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
    return [] if limit == 0 else [_letter(raw) for raw in _raw(client, offset, last)]


def find(client: Redis, letter_id: str) -> DeadLetter | None:
    return next((_letter(raw) for raw in _raw_with(client, letter_id)), None)


def drop(client: Redis, letter_id: str, *, actor: str) -> bool:
    """Whether it was there. The audit comes first: nothing is dropped that it does not tell of."""
    raw = next(_raw_with(client, letter_id), None)
    if raw is None:
        return False
    letter = _letter(raw)
    with transaction.atomic():
        _audit(actor, "Dead letter dropped", {"id": letter.id, "queue": letter.queue, "reason": letter.reason[:300]})
        dropped = bool(client.lrem(dead_letters_key(), 0, cast(str, raw)))
        transaction.set_rollback(not dropped)
    return dropped


def drop_all(client: Redis, *, actor: str) -> int:
    """How many there were; one that comes meanwhile stays."""
    found = count(client).kept
    if found == 0:
        return 0
    with transaction.atomic():
        words = "1 dead letter dropped" if found == 1 else f"{found} dead letters dropped"
        _audit(actor, words, {"dropped": found})
        client.ltrim(dead_letters_key(), 0, -found - 1)
    return found


def drop_sent(client: Redis, sent: Iterable[tuple[str, bytes]], *, newest: int, actor: str) -> int:
    """Of the `newest` letters those that hold a (queue, message) that was sent, each as often as it was sent: what
    somebody else sent stays, even if it reads the same. Gives their number."""
    left = Counter((queue, len(message), message[:DEAD_LETTER_BYTES]) for queue, message in sent)
    found = []
    for raw in _raw(client, 0, newest - 1) if newest > 0 else []:
        letter = _letter(raw)
        key = letter.queue, letter.size, letter.kept
        if left[key] > 0:
            left[key] -= 1
            found.append(raw)
    if not found:
        return 0
    with transaction.atomic():
        _audit(actor, f"{len(found)} dead letters of a rehearsal dropped", {"dropped": len(found)})
        pipe = client.pipeline(transaction=False)
        for raw in found:
            pipe.lrem(dead_letters_key(), 1, cast(str, raw))
        pipe.execute()
    return len(found)


def _raw(client: Redis, first: int, last: int) -> list[bytes]:
    # Our connections decode nothing, which redis-py's types cannot tell.
    return cast(list[bytes], client.lrange(dead_letters_key(), first, last))


def _raw_with(client: Redis, letter_id: str) -> Iterator[bytes]:
    return (raw for raw in _raw(client, 0, -1) if _id_of(raw) == letter_id)


def _id_of(raw: bytes) -> str:
    return sha256(raw).hexdigest()[:ID_LENGTH]


def _letter(raw: bytes) -> DeadLetter:
    """Whatever lies in the list can be looked at, and dropped, even if the guard did not write it."""
    try:
        values: dict[str, Any] = json.loads(raw)
        return DeadLetter(
            id=_id_of(raw),
            at=datetime.fromtimestamp(values["at"], UTC),
            queue=str(values["queue"]),
            reason=str(values["reason"]),
            size=int(values["size"]),
            kept=base64.b64decode(values["base64"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        never = datetime.fromtimestamp(0, UTC)
        return DeadLetter(
            id=_id_of(raw), at=never, queue="", reason="cannot be read", size=len(raw), kept=raw[:DEAD_LETTER_BYTES]
        )


def _audit(actor: str, sentence: str, before: dict[str, Any]) -> None:
    ClusterEvent.objects.create(kind="dead_letter", actor=actor, message=f"{sentence}, by {actor}"[:300], before=before)
