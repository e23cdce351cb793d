"""Dead letters: messages that this cluster did not send or that are malformed, kept until people drop them."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, cast

from django.db import transaction
from redis import Redis
from redis.exceptions import RedisError

from scheduler.logs import event_logger
from scheduler.models import ClusterEvent
from scheduler.redis_client import KEY_PREFIX

log = event_logger(__name__)

#: Dead letters kept; the counter counts all.
DEAD_LETTERS_KEPT: Final = 1000
#: Bytes kept of each.
DEAD_LETTER_BYTES: Final = 4096
#: Characters of the digest that identifies a letter among those kept.
ID_LENGTH: Final = 12


def dead_letters_key() -> str:
    """A list, newest first."""
    return f"{KEY_PREFIX}dead-letters"


def dead_letter_count_key() -> str:
    return f"{KEY_PREFIX}dead-letter-count"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """id: a digest of the stored entry. size: bytes of the whole message; `kept` is its beginning."""

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
        """Bytes that are not UTF-8 appear as \\x.."""
        return self.kept.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """kept: those that can be read. total: all since the broker was last emptied."""

    kept: int
    total: int


def bury(client: Redis, item: bytes, queue: str, reason: str) -> None:
    """Keeps a message that was refused, for people to look at."""
    log.warning("dead_letter_found", queue=queue, reason=reason, size=len(item))
    letter = {
        "at": time.time(),
        "queue": queue,
        "reason": reason,
        "size": len(item),
        "base64": base64.b64encode(item[:DEAD_LETTER_BYTES]).decode(),
    }
    try:
        pipe = client.pipeline(transaction=False)
        pipe.lpush(dead_letters_key(), json.dumps(letter))
        pipe.ltrim(dead_letters_key(), 0, DEAD_LETTERS_KEPT - 1)
        pipe.incr(dead_letter_count_key())
        pipe.execute()
    except RedisError as error:
        log.error("dead_letter_lost", queue=queue, reason=reason, item=letter["base64"], error=error)


def count(client: Redis) -> Counts:
    pipe = client.pipeline(transaction=False)
    pipe.llen(dead_letters_key())
    pipe.get(dead_letter_count_key())
    kept, total = pipe.execute()
    return Counts(kept=int(kept), total=max(int(kept), int(total or 0)))


def read(client: Redis, *, offset: int = 0, limit: int = -1) -> list[DeadLetter]:
    """Newest first. limit: -1 means all."""
    last = -1 if limit < 0 else offset + limit - 1
    return [] if limit == 0 else [_letter(raw) for raw in _raw(client, offset, last)]


def find(client: Redis, letter_id: str) -> DeadLetter | None:
    return next((_letter(raw) for raw in _raw_with(client, letter_id)), None)


def drop(client: Redis, letter_id: str, *, actor: str) -> bool:
    """Whether there was such a letter. The audit event is written first: no drop is without one."""
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
    """Returns the number of letters dropped; one that arrives meanwhile stays."""
    found = count(client).kept
    if found == 0:
        return 0
    with transaction.atomic():
        words = "1 dead letter dropped" if found == 1 else f"{found} dead letters dropped"
        _audit(actor, words, {"dropped": found})
        client.ltrim(dead_letters_key(), 0, -found - 1)
    return found


def drop_sent(client: Redis, sent: Iterable[tuple[str, bytes]], *, newest: int, actor: str) -> int:
    """Drops, among the `newest` letters, those that hold a (queue, message) of `sent`, each as many times as it was
    sent: an equal message that somebody else sent stays. Returns their number."""
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
    # Connections of this product decode nothing; the types of redis-py do not know that.
    return cast(list[bytes], client.lrange(dead_letters_key(), first, last))


def _raw_with(client: Redis, letter_id: str) -> Iterator[bytes]:
    return (raw for raw in _raw(client, 0, -1) if _id_of(raw) == letter_id)


def _id_of(raw: bytes) -> str:
    return sha256(raw).hexdigest()[:ID_LENGTH]


def _letter(raw: bytes) -> DeadLetter:
    """Any entry of the list can be read and dropped, even one that `bury` did not write."""
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
            id=_id_of(raw), at=never, queue="", reason="unreadable entry", size=len(raw), kept=raw[:DEAD_LETTER_BYTES]
        )


def _audit(actor: str, sentence: str, before: dict[str, Any]) -> None:
    ClusterEvent.objects.create(kind="dead_letter", actor=actor, message=f"{sentence}, by {actor}"[:300], before=before)
