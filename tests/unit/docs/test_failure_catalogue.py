"""docs/failure-catalogue.md is complete, and what it names is there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from functools import cache

import pytest

from scheduler.remedies import Remedy
from tests.project import ROOT

CATALOGUE = ROOT / "docs" / "failure-catalogue.md"
FAILURES = [f"F{number}" for number in range(1, 17)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    failure: str
    words: str
    remedy: str
    switch_in: str
    tests: list[str]
    tests_without: list[str]


def rows_of(text: str) -> list[Row]:
    found = []
    for line in text.splitlines():
        if line.startswith("| F"):
            failure, words, remedy, switch_in, tests, without = (cell.strip() for cell in line.strip("|").split("|"))
            found.append(
                Row(
                    failure=failure,
                    words=words,
                    remedy=remedy.strip("`"),
                    switch_in=switch_in.strip("`"),
                    tests=re.findall(r"`([^`]+)`", tests),
                    tests_without=re.findall(r"`([^`]+)`", without),
                )
            )
    return found


ROWS = rows_of(CATALOGUE.read_text())
NAMES = [f"{row.failure}-{row.remedy}" for row in ROWS]


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def names_of_tests(path: str) -> set[str]:
    return {
        node.name for node in parsed(path).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def names_remedy(path: str, remedy: Remedy) -> bool:
    """Remedy.FENCE, or the word of REMEDIES_OFF."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr == remedy.name)
        or (isinstance(node, ast.Constant) and node.value == remedy.value)
        for node in ast.walk(parsed(path))
    )


def test_every_failure_has_a_row_and_they_stand_in_order():
    assert list(dict.fromkeys(row.failure for row in ROWS)) == FAILURES


def test_every_remedy_is_there_for_a_failure():
    assert {row.remedy for row in ROWS} == set(Remedy)


def lacks(row: Row) -> list[str]:
    """What a row ought to have and has not."""
    found = []
    if len(row.words) < 40:
        found.append("words")
    if row.remedy not in set(Remedy):
        return [*found, "remedy"]
    remedy = Remedy(row.remedy)
    if not names_remedy(row.switch_in, remedy):
        found.append(f"switch in {row.switch_in}")
    for kind, test_ids in (("test", row.tests), ("test without the remedy", row.tests_without)):
        if not test_ids:
            found.append(kind)
        for path, name in (test_id.split("::") for test_id in test_ids):
            if name not in names_of_tests(path):
                found.append(f"{kind} {path}::{name}")
    # What is said to be without it takes it away.
    found += [f"{test_id}: has it" for test_id in row.tests_without if not names_remedy(test_id.split("::")[0], remedy)]
    return found


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_lacks_nothing(row):
    assert lacks(row) == []


WHOLE = ROWS[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"words": ""}, ["words"]),
        ({"remedy": "prayer"}, ["remedy"]),
        ({"switch_in": "scheduler/rules/states.py"}, ["switch in scheduler/rules/states.py"]),
        ({"tests": []}, ["test"]),
        ({"tests_without": []}, ["test without the remedy"]),
        (
            {"tests": ["tests/unit/scheduler/rules/test_states.py::test_no"]},
            ["test tests/unit/scheduler/rules/test_states.py::test_no"],
        ),
    ],
)
def test_a_row_that_lacks_something_is_noticed(change, expected):
    assert lacks(replace(WHOLE, **change)) == expected


def test_a_test_that_takes_nothing_away_is_noticed():
    elsewhere = "tests/unit/docs/test_failure_catalogue.py::test_a_row_lacks_nothing"

    assert lacks(replace(WHOLE, tests_without=[elsewhere])) == [f"{elsewhere}: has it"]


def test_an_empty_cell_reads_as_no_test():
    [row] = rows_of("| F1 | words | `resend` | `scheduler/loops/relay.py` | | |")

    assert (row.tests, row.tests_without) == ([], [])
