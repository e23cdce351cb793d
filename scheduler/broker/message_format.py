"""The format of this cluster's messages: a hint, a tick, an order to the workers, or events for Flower.

A message is exactly one of these, and a clean copy is built from the few fields that matter, or it is refused.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import Any, Final
from uuid import uuid4

#: Messages of this cluster have a few hundred bytes.
MESSAGE_MAXIMUM_BYTES: Final = 16 * 1024
#: A worker sends its events to Flower in batches.
BROADCAST_MAXIMUM_BYTES: Final = 1024 * 1024

_HINT_ID: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,9})")
_TICK_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HINT_TASKS: Final = "gpu_tasks."
_TICK_TASKS: Final = "scheduler.ticks."


class MessageRefused(ValueError):
    """This cluster did not send the message, or it is malformed; the text says why."""


def clean_message(item: bytes, queue: str, tasks: Mapping[str, object]) -> bytes:
    """A copy built from the few fields of `item` that matter. Raises MessageRefused if one of them is wrong.

    tasks: those that this worker knows, by name.
    """
    if len(item) > MESSAGE_MAXIMUM_BYTES:
        raise MessageRefused(f"{len(item)} bytes long; the maximum is {MESSAGE_MAXIMUM_BYTES}")
    message = _json_object(item, "the message")
    headers = message.get("headers")
    if not isinstance(headers, dict):
        raise MessageRefused("headers: not an object")
    task, task_id = headers.get("task"), headers.get("id")
    if not isinstance(task, str) or task not in tasks:
        raise MessageRefused(f"headers.task: {task!r:.100} is not a task of this worker")
    if not isinstance(task_id, str):
        raise MessageRefused(f"headers.id: {task_id!r:.100} is not text")
    if task.startswith(_HINT_TASKS):
        return task_message(task, task_id, queue, args=_hint_args(task_id), expires=None)
    if task.startswith(_TICK_TASKS) and _TICK_ID.fullmatch(task_id):
        return task_message(task, task_id, queue, args=[], expires=_expiry(headers.get("expires")))
    raise MessageRefused(f"headers.task: {task!r} is neither a hint nor a tick")


def _json_object(item: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(item)
    except (ValueError, RecursionError):
        raise MessageRefused(f"{what}: not JSON") from None
    if not isinstance(found, dict):
        raise MessageRefused(f"{what}: not an object")
    return found


def _hint_args(task_id: str) -> list[int]:
    """From the id, `<job>-<attempt>`, alone. The body is not read."""
    found = _HINT_ID.fullmatch(task_id)
    if found is None:
        raise MessageRefused(f"headers.id: {task_id!r:.100} is not <job>-<attempt>")
    return [int(found[1]), int(found[2])]


def _expiry(value: object) -> str | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise MessageRefused(f"headers.expires: {value!r:.100} is not a time") from None


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
    """The form in which kombu keeps a message in Redis."""
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


#: The end of the name of the channel for orders.
_ORDERS: Final = ".celery.pidbox"
_ORDER_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "method": (str,),
    "arguments": (dict, NoneType),
    "destination": (list, NoneType),
    # Not used by this product. A wrong pattern makes kombu subscribe again, and orders would be missed.
    "pattern": (NoneType,),
    "matcher": (NoneType,),
    "ticket": (str, NoneType),
    "reply_to": (dict, NoneType),
}


def clean_broadcast(item: bytes, channel: str) -> bytes:
    """A copy of a published message: an order to the workers (remote control) or events for Flower. Raises
    MessageRefused if it is neither."""
    if len(item) > BROADCAST_MAXIMUM_BYTES:
        raise MessageRefused(f"{len(item)} bytes long; the maximum is {BROADCAST_MAXIMUM_BYTES}")
    message = _json_object(item, "the message")
    body, headers, properties = (message.get(name) for name in ("body", "headers", "properties"))
    if not isinstance(body, str) or not isinstance(headers, dict) or not isinstance(properties, dict):
        raise MessageRefused("body, headers or properties: of the wrong type")
    try:
        text = base64.b64decode(body) if properties.get("body_encoding") == "base64" else body
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise MessageRefused("body: not JSON") from None
    if channel.endswith(_ORDERS):
        _check_order(content)
    elif not all(isinstance(event, dict) for event in (content if isinstance(content, list) else [content])):
        raise MessageRefused("body: not events")
    kept = {name: headers[name] for name in ("clock", "expires") if type(headers.get(name)) in {int, float}}
    return _envelope(json.dumps(content), kept, "")


def _check_order(order: object) -> None:
    if not isinstance(order, dict):
        raise MessageRefused("body: not an order")
    for name, types in _ORDER_FIELDS.items():
        if not isinstance(order.get(name), types):
            raise MessageRefused(f"body.{name}: {order.get(name)!r:.100} is of the wrong type")
    reply_to = order.get("reply_to")
    if reply_to and not all(isinstance(reply_to.get(name), str) for name in ("exchange", "routing_key")):
        raise MessageRefused("body.reply_to: exchange or routing_key is missing")
