"""Messages that this cluster did not send or that are malformed, one of each kind."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any, Final

WRONG_VALUES: Final = (None, True, 7, -1.5e300, "", "text", [], [[]], {}, {"a": {}})


def hint() -> dict[str, Any]:
    """As Celery writes it, for a job that never was."""
    body = base64.b64encode(b"[[999999, 1], {}, {}]").decode()
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": "gpu_tasks.sleep",
            "id": "999999-1",
            "root_id": "999999-1",
            "parent_id": None,
            "group": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "",
            "kwargsrepr": "",
            "origin": "a test",
        },
        "properties": {
            "correlation_id": "999999-1",
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "gpu-cluster", "routing_key": "normal"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "a-tag",
        },
    }


def order() -> dict[str, Any]:
    """Remote control, as Celery writes it."""
    body = {
        "method": "ping",
        "arguments": {},
        "destination": None,
        "pattern": None,
        "matcher": None,
        "ticket": "a-ticket",
        "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "nobody"},
    }
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"clock": 1, "expires": 0},
        "properties": {
            "delivery_mode": 2,
            "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "a-tag",
        },
    }


def _places(value: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield (*at, name)
        yield from _places(inner, (*at, name))


def _with(message: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(message)
    *above, last = place
    inner = changed
    for name in above:
        inner = inner[name]
    inner[last] = value
    return changed


def _without(message: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    changed = _with(message, place, None)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    del inner[place[-1]]
    return changed


def _of_every_wrong_type(message: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place in _places(message):
        name = ".".join(place)
        yield f"without {name}", _without(message, place)
        for value in WRONG_VALUES:
            yield f"{name}: {value!r}", _with(message, place, value)


RAW: Final = {
    "a word": b"nonsense",
    "half a message": b'{"headers": {"task": "gpu_tasks.sl',
    "binary": b"\x00\x80\x81\xff",
    "half a character": '{"é'.encode()[:-1],
    "a pickle": pickle.dumps(hint()),
    "a pickle, said to be JSON": json.dumps(
        hint()
        | {"body": base64.b64encode(pickle.dumps({"a": 1})).decode()}
        | {"content-type": "application/x-python-serialize"}
    ).encode(),
    "space": b" ",
    "null": b"null",
    "true": b"true",
    "a number": b"7",
    "not a number": b"NaN",
    "text": b'"text"',
    "a list": b"[1, [2]]",
    "an empty object": b"{}",
    "lists without end": b"[" * 100_000,
    "objects without end": b'{"a":' * 50_000,
    "2 MiB of text": json.dumps(hint() | {"body": "x" * 2**21}).encode(),
    "2 MiB of nothing": b"\x00" * 2**21,
    "a task of nobody": json.dumps(_with(hint(), ("headers", "task"), "os.system")).encode(),
    "a task of Celery's own": json.dumps(_with(hint(), ("headers", "task"), "celery.chord_unlock")).encode(),
    "a tick that is no hint": json.dumps(_with(hint(), ("headers", "task"), "scheduler.ticks.generate")).encode(),
    "an id beyond any number": json.dumps(_with(hint(), ("headers", "id"), "9" * 400 + "-1")).encode(),
    "an id with more behind it": json.dumps(_with(hint(), ("headers", "id"), "1-1; DROP TABLE scheduler_job")).encode(),
    "compressed, it says": json.dumps(_with(hint(), ("headers", "compression"), "application/x-gzip")).encode(),
    "of another protocol": json.dumps({"task": "gpu_tasks.sleep", "id": "1-1", "args": [1, 1], "kwargs": {}}).encode(),
}

#: By what is wrong with them.
MESSAGES: Final = RAW | {name: json.dumps(message).encode() for name, message in _of_every_wrong_type(hint())}


def _encoded(message: dict[str, Any]) -> bytes:
    if isinstance(message.get("body"), dict):
        message = message | {"body": base64.b64encode(json.dumps(message["body"]).encode()).decode()}
    return json.dumps(message).encode()


#: The same for what comes by publish and subscribe.
ORDERS: Final = RAW | {name: _encoded(message) for name, message in _of_every_wrong_type(order())}
