"""A message is a hint or a tick, built again from the few fields that matter, or it is refused."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.broker.message_format import MESSAGE_MAXIMUM_BYTES, MessageRefused, clean_message

TASKS = {"gpu_tasks.sleep": object(), "scheduler.ticks.generate": object(), "celery.chord": object()}


def a_message(**headers: Any) -> bytes:
    return json.dumps({"headers": {"task": "gpu_tasks.sleep", "id": "7-2", **headers}}).encode()


def body_of(message: bytes) -> list[Any]:
    return json.loads(base64.b64decode(json.loads(message)["body"]))


def test_a_hint_is_rebuilt_from_its_id():
    clean = clean_message(a_message(), "high", TASKS)

    assert body_of(clean)[0] == [7, 2]
    assert json.loads(clean)["properties"]["delivery_info"] == {"exchange": "", "routing_key": "high"}


def test_a_tick_keeps_its_expiry():
    at = "2026-01-01T00:00:00+00:00"

    clean = clean_message(a_message(task="scheduler.ticks.generate", id="abc-1", expires=at), "control", TASKS)

    assert body_of(clean)[0] == []
    assert json.loads(clean)["headers"]["expires"] == at


WRONG = {
    "not JSON": b"{",
    "binary": b"\x80\x81\xff",
    "a pickle": pickle.dumps({"task": "gpu_tasks.sleep"}),
    "empty": b"",
    "null": b"null",
    "a number": b"7",
    "a list": b"[1, 2]",
    "deeply nested": b"[" * 8000,
    "no headers": b"{}",
    "headers a list": b'{"headers": []}',
    "task a number": a_message(task=7),
    "task an object": a_message(task={}),
    "an unknown task": a_message(task="os.system"),
    "a task that is neither hint nor tick": a_message(task="celery.chord"),
    "id a number": a_message(id=7),
    "id null": a_message(id=None),
    "id not ours": a_message(id="7"),
    "id negative": a_message(id="-7-1"),
    "id beyond any bigint": a_message(id="9" * 30 + "-1"),
    "id in digits of another script": a_message(id="٧-2"),
    "id with a newline": a_message(id="7-2\n"),
    "a tick that expires never in time": a_message(task="scheduler.ticks.generate", id="a", expires=[1]),
    "a tick with an id of another script": a_message(task="scheduler.ticks.generate", id="ä"),
    "a tick with an odd id": a_message(task="scheduler.ticks.generate", id="a b"),
    "huge": a_message(padding="x" * MESSAGE_MAXIMUM_BYTES),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_ours_is_refused_with_words(kind):
    with pytest.raises(MessageRefused, match=r".+"):
        clean_message(WRONG[kind], "high", TASKS)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES, st.sampled_from(["task", "id", "expires", "headers", "body", "properties"]))
def test_no_json_whatever_breaks_the_guard(value, place):
    message = {"headers": {"task": "gpu_tasks.sleep", "id": "7-2"}, "body": "", "properties": {}}
    (message["headers"] if place in {"task", "id", "expires"} else message)[place] = value

    try:
        clean = clean_message(json.dumps(message).encode(), "high", TASKS)
    except MessageRefused:
        return
    assert body_of(clean)[0] == [7, 2] or place == "id"
