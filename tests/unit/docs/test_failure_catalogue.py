"""docs/failure-catalogue.md is complete, and everything that it names is there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from functools import cache

import pytest

from tests.mutants.patches import BEYOND_THE_MODEL, all_mutants, hunks, patch_of
from tests.project import ROOT

CATALOGUE = ROOT / "docs" / "failure-catalogue.md"
FAILURES = [f"F{number}" for number in range(1, 17)]

ENTRY = re.compile(
    r"^### (?P<failure>F\d+) · (?P<title>.*)\n\n"
    r"- \*\*Celery on Redis\*\*(?P<celery>[^*]*)\n"
    r"- \*\*Here\*\*(?P<here>[^*]*)\n"
    r"- \*\*Tests\*\* in `(?P<file>[^`]*)`\n"
    r"  - with it:(?P<tests>[^*]*)\n"
    r"  - without it \(`(?P<patch>\w*)`\):(?P<without>[^#]*)(?=^#|\Z)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    failure: str
    title: str
    celery: str
    here: str
    patch: str
    tests: list[str]
    tests_without: list[str]

    @property
    def files(self) -> list[str]:
        """Where the remedy is."""
        return re.findall(r"`([\w/]+\.py)`", self.here)


def entries_of(text: str) -> list[Entry]:
    return [
        Entry(
            failure=found["failure"],
            title=found["title"],
            celery=" ".join(found["celery"].split()),
            here=found["here"],
            patch=found["patch"],
            tests=test_ids(found["tests"], found["file"]),
            tests_without=test_ids(found["without"], found["file"]),
        )
        for found in ENTRY.finditer(text)
    ]


def test_ids(words: str, file: str) -> list[str]:
    """A name alone is a test of the entry's file."""
    return [name if "::" in name else f"{file}::{name}" for name in re.findall(r"`([^`]+)`", words)]


test_ids.__test__ = False

TEXT = CATALOGUE.read_text()
ENTRIES = entries_of(TEXT)


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def names_of_tests(path: str) -> set[str]:
    return {
        node.name for node in parsed(path).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def names_patch(path: str, patch: str) -> bool:
    """In its mark, or in the call that makes the copy."""
    return any(isinstance(node, ast.Constant) and node.value == patch for node in ast.walk(parsed(path)))


def test_every_failure_has_an_entry_and_they_are_in_order():
    assert list(dict.fromkeys(entry.failure for entry in ENTRIES)) == FAILURES


def test_every_heading_of_a_failure_is_read():
    assert [f"### {entry.failure} · {entry.title}" for entry in ENTRIES] == re.findall(r"^### .*$", TEXT, re.MULTILINE)


def test_every_patch_is_used_by_the_model_or_by_an_entry():
    assert set(all_mutants()) >= BEYOND_THE_MODEL
    assert {entry.patch for entry in ENTRIES} >= BEYOND_THE_MODEL


def lacks(entry: Entry) -> list[str]:
    """What an entry ought to have and has not."""
    found = []
    if len(entry.celery) < 40:
        found.append("what Celery on Redis does")
    if entry.patch not in all_mutants():
        return [*found, "patch"]
    found += [f"file {file}" for file in entry.files if not (ROOT / file).is_file()]
    if not {hunk.file for hunk in hunks(patch_of(entry.patch).read_text())} & set(entry.files):
        found.append("the file that the patch changes")
    for kind, ids in (("test", entry.tests), ("test without the remedy", entry.tests_without)):
        if not ids:
            found.append(kind)
        for path, name in (test_id.split("::") for test_id in ids):
            if name not in names_of_tests(path):
                found.append(f"{kind} {path}::{name}")
    for test_id in entry.tests_without:
        if not names_patch(test_id.split("::")[0], entry.patch):
            found.append(f"{test_id}: runs on no copy with {entry.patch}")
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.failure}-{entry.patch}")
def test_an_entry_lacks_nothing(entry):
    assert lacks(entry) == []


WHOLE = ENTRIES[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"celery": ""}, ["what Celery on Redis does"]),
        ({"patch": "prayer"}, ["patch"]),
        ({"here": "`scheduler/prayer.py`"}, ["file scheduler/prayer.py", "the file that the patch changes"]),
        ({"here": "`scheduler/rules/states.py`"}, ["the file that the patch changes"]),
        ({"tests": []}, ["test"]),
        ({"tests_without": []}, ["test without the remedy"]),
        (
            {"tests": ["tests/unit/scheduler/rules/test_states.py::test_no"]},
            ["test tests/unit/scheduler/rules/test_states.py::test_no"],
        ),
    ],
)
def test_an_entry_that_lacks_something_is_noticed(change, expected):
    assert lacks(replace(WHOLE, **change)) == expected


def test_a_test_that_takes_nothing_away_is_noticed():
    elsewhere = "tests/unit/docs/test_failure_catalogue.py::test_an_entry_lacks_nothing"

    assert lacks(replace(WHOLE, tests_without=[elsewhere])) == [f"{elsewhere}: runs on no copy with {WHOLE.patch}"]


def test_an_entry_without_names_reads_as_no_test():
    [entry] = entries_of(
        "### F1 · A title\n\n- **Celery on Redis** does.\n- **Here** it does not: `scheduler/loops/relay.py`\n"
        "- **Tests** in `tests/x.py`\n  - with it:\n  - without it (`no_relay`):\n"
    )

    assert (entry.tests, entry.tests_without, entry.files) == ([], [], ["scheduler/loops/relay.py"])
