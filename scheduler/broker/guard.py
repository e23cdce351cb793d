"""Stands in front of every consumer: what is not a message of ours goes to the dead letters.

kombu crashes on several kinds of malformed messages, and puts them back at the head of the queue at each
shutdown: one such message would stop every worker that reads it. So nothing from Redis reaches it as it is.
A message is either exactly a hint or a tick, of which a clean message is built anew, or it is nothing.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, Final
from uuid import uuid4

from kombu.transport.redis import Channel, QoS, Transport
from kombu.utils.encoding import bytes_to_str
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from scheduler.logs import event_logger
from scheduler.redis_client import KEY_PREFIX, connect

log = event_logger(__name__)

#: Dead letters kept; the counter goes on.
DEAD_LETTERS_KEPT: Final = 1000
#: Bytes kept of one of them.
DEAD_LETTER_BYTES: Final = 4096
#: No message of ours is longer than a few hundred bytes.
MESSAGE_MAXIMUM_BYTES: Final = 16 * 1024
#: A worker sends its events to Flower in batches.
BROADCAST_MAXIMUM_BYTES: Final = 1024 * 1024

_HINT_ID: Final = re.compile(r"(\d{1,18})-(\d{1,9})")
_TICK_ID: Final = re.compile(r"[\w-]{1,64}")
_HINT_TASKS: Final = "gpu_tasks."
_TICK_TASKS: Final = "scheduler.ticks."


#: What workers answer to Flower and `celery inspect` comes back through queues of their own. No worker reads them.
_ANSWERS: Final = ".reply.celery.pidbox"


class NotOurs(ValueError):
    """Says what is wrong with a message."""


def dead_letters_key() -> str:
    """A list, newest first."""
    return f"{KEY_PREFIX}dead-letters"


def dead_letter_count_key() -> str:
    return f"{KEY_PREFIX}dead-letter-count"


def clean_message(item: bytes, queue: str, tasks: Mapping[str, object]) -> bytes:
    """A message built anew from the few fields of `item` that matter; NotOurs if one of them is wrong.

    tasks: what this worker knows, by name.
    """
    if len(item) > MESSAGE_MAXIMUM_BYTES:
        raise NotOurs(f"{len(item)} bytes long; ours have at most {MESSAGE_MAXIMUM_BYTES}")
    message = _json_object(item, "the message")
    headers = message.get("headers")
    if not isinstance(headers, dict):
        raise NotOurs("headers: not an object")
    task, task_id = headers.get("task"), headers.get("id")
    if not isinstance(task, str) or task not in tasks:
        raise NotOurs(f"headers.task: {task!r:.100} is no task of this worker")
    if not isinstance(task_id, str):
        raise NotOurs(f"headers.id: {task_id!r:.100} is not text")
    if task.startswith(_HINT_TASKS):
        return task_message(task, task_id, queue, args=_hint_args(task_id), expires=None)
    if task.startswith(_TICK_TASKS) and _TICK_ID.fullmatch(task_id):
        return task_message(task, task_id, queue, args=[], expires=_expiry(headers.get("expires")))
    raise NotOurs(f"headers.task: {task!r} comes neither as a hint nor as a tick")


def _json_object(item: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(item)
    except (ValueError, RecursionError):
        raise NotOurs(f"{what}: not JSON") from None
    if not isinstance(found, dict):
        raise NotOurs(f"{what}: not an object")
    return found


def _hint_args(task_id: str) -> list[int]:
    """The id says it all: `<job>-<attempt>`. A body that says otherwise is not looked at."""
    found = _HINT_ID.fullmatch(task_id)
    if found is None:
        raise NotOurs(f"headers.id: {task_id!r:.100} is not <job>-<attempt>")
    return [int(found[1]), int(found[2])]


def _expiry(value: object) -> str | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise NotOurs(f"headers.expires: {value!r:.100} is not a time") from None


def task_message(task: str, task_id: str, queue: str, *, args: list[int], expires: str | None) -> bytes:
    """Celery's protocol 2."""
    body = json.dumps([args, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    headers = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": expires,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": repr(args),
        "kwargsrepr": "{}",
        "origin": "guard",
        "ignore_result": True,
    }
    return _envelope(body, headers, queue, correlation_id=task_id)


def _envelope(body: str, headers: dict[str, Any], queue: str, **properties: str) -> bytes:
    """kombu's."""
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": {
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
                **properties,
            },
        }
    ).encode()


#: How the channel is called by which orders come.
_ORDERS: Final = ".celery.pidbox"
_ORDER_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "method": (str,),
    "arguments": (dict, NoneType),
    "destination": (list, NoneType),
    # Nobody of ours chooses workers by pattern, and a wrong one makes kombu subscribe anew: orders would be missed.
    "pattern": (NoneType,),
    "matcher": (NoneType,),
    "ticket": (str, NoneType),
    "reply_to": (dict, NoneType),
}


def clean_broadcast(item: bytes, channel: str) -> bytes:
    """What comes by publish and subscribe, built anew: an order to the workers (remote control) or events for Flower.
    NotOurs if it is neither."""
    if len(item) > BROADCAST_MAXIMUM_BYTES:
        raise NotOurs(f"{len(item)} bytes long; ours have at most {BROADCAST_MAXIMUM_BYTES}")
    message = _json_object(item, "the message")
    body, headers, properties = (message.get(name) for name in ("body", "headers", "properties"))
    if not isinstance(body, str) or not isinstance(headers, dict) or not isinstance(properties, dict):
        raise NotOurs("body, headers or properties: of the wrong type")
    try:
        text = base64.b64decode(body) if properties.get("body_encoding") == "base64" else body
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise NotOurs("body: not JSON") from None
    if channel.endswith(_ORDERS):
        _check_order(content)
    elif not all(isinstance(event, dict) for event in (content if isinstance(content, list) else [content])):
        raise NotOurs("body: no events")
    kept = {name: headers[name] for name in ("clock", "expires") if type(headers.get(name)) in {int, float}}
    return _envelope(json.dumps(content), kept, "")


def _check_order(order: object) -> None:
    if not isinstance(order, dict):
        raise NotOurs("body: no order")
    for name, types in _ORDER_FIELDS.items():
        if not isinstance(order.get(name), types):
            raise NotOurs(f"body.{name}: {order.get(name)!r:.100} is of the wrong type")
    reply_to = order.get("reply_to")
    if reply_to and not all(isinstance(reply_to.get(name), str) for name in ("exchange", "routing_key")):
        raise NotOurs("body.reply_to: does not say where to")


def bury(client: Redis, item: bytes, queue: str, reason: str) -> None:
    """Keeps what was refused, for people to look at."""
    log.warning("dead_letter", queue=queue, reason=reason, size=len(item))
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
        log.error("dead_letter_not_kept", queue=queue, reason=reason, item=letter["base64"], error=error)


def set_aside(client: Redis, queues: Iterable[str]) -> None:
    """What has the name of a queue and is no list stops all who read or fill the queue: it gets another name."""
    for queue in queues:
        key = f"{KEY_PREFIX}{queue}"
        kind: Any = client.type(key)
        if kind not in {b"list", b"none"}:
            client.rename(key, f"{KEY_PREFIX}set-aside:{queue}")
            bury(
                client,
                b"",
                queue,
                f"the queue's key held a {kind.decode()}; it is now called {KEY_PREFIX}set-aside:{queue}",
            )


@cache
def _own_connection() -> Redis:
    """The consumer's own waits in BRPOP."""
    return connect()


class FrontQoS(QoS):
    """kombu's, but a hint that is given back is taken next, as it was: kombu would put it behind the whole window."""

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if requeue:
            self.restore_by_tag(delivery_tag)
        self.ack(delivery_tag)

    def restore_by_tag(self: Any, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """What was taken and not acknowledged goes back to its queue, and passes the guard there. A note of it that
        cannot be read would keep all others from going back, at every attempt."""
        try:
            QoS.restore_by_tag(self, tag, client, leftmost)
        except (ValueError, TypeError, RecursionError) as error:
            with self.channel.conn_or_acquire(client) as redis:
                bury(_own_connection(), redis.hget(self.unacked_key, tag) or b"", self.unacked_key, f"unread: {error}")
            self._remove_from_indices(tag).execute()


class GuardedChannel(Channel):
    """kombu's channel, but whatever comes from Redis passes the guard first."""

    QoS = FrontQoS

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)  # type: ignore[misc]
        if not asynchronous:
            return client
        parse = client.parse_response

        def guarded(connection: Any, command_name: str, **options: Any) -> Any:
            if command_name != "BRPOP":
                return parse(connection, command_name, **options)
            try:
                reply = parse(connection, command_name, **options)
            except ResponseError as error:
                if not str(error).startswith("WRONGTYPE"):
                    raise
                set_aside(_own_connection(), self.active_queues)
                return None
            return self._checked(*reply) if reply else reply

        client.parse_response = guarded
        return client

    def _checked(self, key: bytes | str, item: bytes) -> tuple[bytes | str, bytes] | None:
        """None is what an empty queue answers: the consumer simply goes on."""
        from scheduler.celery import app  # noqa: PLC0415 (the app names this transport)

        queue = key.decode() if isinstance(key, bytes) else key
        if queue.endswith(_ANSWERS):
            return key, item
        try:
            return key, clean_message(item, queue, app.tasks)
        except NotOurs as refusal:
            bury(_own_connection(), item, queue, str(refusal))
            return None

    def _handle_message(self, client: Any, reply: Any) -> Any:
        """One message of a subscription; without data kombu goes on to the next."""
        message = super()._handle_message(client, reply)  # type: ignore[misc]
        if message["type"] in {b"message", b"pmessage"}:
            channel = bytes_to_str(message["channel"])
            try:
                message["data"] = clean_broadcast(message["data"], channel)
            except NotOurs as refusal:
                bury(_own_connection(), message["data"], channel, str(refusal))
                message["data"] = None
        return message


class GuardedTransport(Transport):
    Channel = GuardedChannel
