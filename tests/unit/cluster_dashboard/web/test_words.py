"""The page's JavaScript has its words from the server, and its folders import downwards only."""

from __future__ import annotations

import re

import pytest

from cluster_dashboard.web.words import page_words
from scheduler.rules.gpu import GpuState
from scheduler.rules.states import EventKind, JobState
from tests.project import ROOT

SCRIPTS = ROOT / "cluster_dashboard" / "web" / "static" / "web" / "js"
FILES = {path.relative_to(SCRIPTS).as_posix(): path.read_text() for path in SCRIPTS.rglob("*.js")}
ENUMS = {enum.__name__: enum for enum in (JobState, EventKind, GpuState)}

IMPORTED = re.compile(r'(?:from|import) "([^"]+)"')
#: `JobState.FAILED`.
MEMBER = re.compile(rf"\b({'|'.join(ENUMS)})\.([A-Z_]+)")
#: A value is compared with a word, or a word is one of a list.
COMPARED = re.compile(
    rf'(?:===|!==|\bcase) "({"|".join(word.value for enum in ENUMS.values() for word in enum)})"'
)  # fmt: skip


def test_every_word_that_a_script_names_is_one_of_the_server() -> None:
    named = {(enum, member) for text in FILES.values() for enum, member in MEMBER.findall(text)}

    assert ("JobState", "RUNNING") in named
    assert [(enum, member) for enum, member in sorted(named) if member not in page_words()[enum]] == []


def test_no_script_writes_a_word_of_the_server_again() -> None:
    written = {(name, word) for name, text in FILES.items() for word in COMPARED.findall(text)}

    # The state of the page's own connection.
    assert written - {("jobs/job.js", "idle")} == set()


def test_every_event_that_moves_a_job_has_the_state_after_it() -> None:
    after = page_words()["STATE_AFTER"]

    assert set(EventKind) - set(after) == {EventKind.CANCEL_REQUESTED}
    assert (after["submitted"], after["started"], after["requeued"]) == ("queued", "running", "queued")
    assert all(after[state] == state for state in page_words()["TERMINAL_STATES"])


@pytest.mark.parametrize(
    ("folder", "below"), [("shared", {"shared"}), ("live", {"live", "shared"}), ("jobs", {"jobs", "shared"})]
)
def test_scripts_import_from_their_own_folder_and_from_shared(folder: str, below: set[str]) -> None:
    imports = {
        (name, (SCRIPTS / name).parent.joinpath(target).resolve())
        for name, text in FILES.items()
        if name.startswith(f"{folder}/")
        for target in IMPORTED.findall(text)
    }

    assert imports
    assert [(name, str(path)) for name, path in sorted(imports) if not path.is_file()] == []
    assert {path.parent.name for _, path in imports} <= below
