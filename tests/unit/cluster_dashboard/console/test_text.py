"""Values in words: durations, ranges of ids, and data that cannot act on a terminal."""

from __future__ import annotations

import pytest

from cluster_dashboard.console.text import duration, lines, one_line, ranges


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (-0.2, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_duration_has_the_two_units_that_matter(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("ids", "words"),
    [([], ""), ([7], "7"), ([3, 1, 2], "1-3"), ([1, 2, 4, 6, 7], "1-2 4 6-7"), (range(5, 1000), "5-999")],
)
def test_ids_are_ranges(ids: list[int], words: str) -> None:
    assert ranges(ids) == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü ✓", "plain ü ✓"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202eevil", r"\u202eevil"),
        ("\udcff", r"\udcff"),
    ],
)
def test_control_characters_are_shown_and_not_written(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_lines_of_an_error_stay_lines() -> None:
    assert lines("one\n\x1b[2Jtwo") == "one\n\\x1b[2Jtwo"
