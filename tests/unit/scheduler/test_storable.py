"""Texts and JSON values become storable, and change as little as possible."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scheduler.storable import storable_json, storable_text


@pytest.mark.parametrize(
    ("text", "storable"),
    [
        ("", ""),
        ("plain, é and 😀\n", "plain, é and 😀\n"),
        ("a\0b", "a\\x00b"),
        ("a\ud800b", "a\\ud800b"),
        ("\udfff\ud83d", "\\udfff\\ud83d"),
        ("\ud83d\ude00 \0", "😀 \\x00"),
    ],
)
def test_only_what_no_database_stores_is_escaped(text: str, storable: str) -> None:
    assert storable_text(text) == storable
    storable_text(text).encode()


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "x", [], {}, {"a": [1, {"b": "c"}]}])
def test_a_storable_value_is_unchanged(value: Any) -> None:
    assert storable_json(value) == value


def test_texts_and_keys_at_every_depth_are_escaped() -> None:
    value = {"a\0": [{"b": ["c\ud800"]}]}

    assert json.dumps(storable_json(value)) == r'{"a\\x00": [{"b": ["c\\ud800"]}]}'
