"""The rules of the verdict: each one passes a good story, and fails a bad one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scheduler.verdict.log import Event, Row
from scheduler.verdict.rules import RULES, breaches_of


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


ROW = Row(
    type="sleep",
    state="succeeded",
    attempt=2,
    failures=1,
    max_failures=3,
    event_count=5,
    gpu=1,
    boot="b",
    reason="",
    cancel_requested=False,
    submitted_at=at(1),
    queued_at=at(3),
    started_at=at(4),
    finished_at=at(5),
)


def an_event(n: int, kind: str, **fields) -> Event:
    values = {"attempt": 1, "gpu": None, "boot": "", "reason": "", "charged": False, "at": float(n), "row": ROW}
    return Event(job=7, n=n, kind=kind, id=n, **{**values, **fields})


def a_good_story() -> list[Event]:
    """Submitted, lost its worker, ran again."""
    return [
        an_event(1, "submitted"),
        an_event(2, "started", gpu=0, boot="a"),
        an_event(3, "requeued", gpu=0, boot="a", reason="worker_died", charged=True),
        an_event(4, "started", attempt=2, gpu=1, boot="b"),
        an_event(5, "succeeded", attempt=2, gpu=1, boot="b"),
    ]


def with_row(**fields) -> list[Event]:
    row = replace(ROW, **fields)
    return [replace(event, row=row) for event in a_good_story()]


def with_event(number: int, **fields) -> list[Event]:
    return [replace(event, **fields) if event.n == number else event for event in a_good_story()]


def without(n: int) -> list[Event]:
    return [event for event in a_good_story() if event.n != n]


BAD = {
    "accepted_once": [
        without(1),
        [*a_good_story(), an_event(6, "submitted")],
        with_event(1, n=2),
    ],
    "numbers_gapless": [without(3), with_event(5, n=7), with_row(event_count=6)],
    "known_kinds": [with_event(3, kind="vanished")],
    "moves_legal": [
        with_event(2, kind="succeeded"),
        [*a_good_story(), an_event(6, "failed", attempt=2)],
        [*a_good_story(), an_event(6, "started", attempt=3, gpu=0)],
        with_event(3, kind="started", attempt=2, gpu=1),
    ],
    "row_agrees": [
        with_row(state="running"),
        with_row(attempt=1),
        with_row(state=None),
        with_row(gpu=0),
        with_row(boot="c"),
        with_row(reason="worker_died"),
        with_row(cancel_requested=True),
    ],
    "starts_rise": [with_event(4, attempt=1)],
    "ends_carry_current_attempt": [
        with_event(5, attempt=1),
        with_event(5, gpu=0),
        with_event(5, boot="a"),
        with_event(3, attempt=2),
    ],
    "charges_within_limit": [
        with_row(failures=0),
        with_row(max_failures=0),
        with_row(max_failures=1, state="queued"),
    ],
    "others_carry_theirs": [
        with_event(1, gpu=0),
        with_event(1, attempt=2),
        with_event(4, attempt=3),
        with_event(2, gpu=None),
    ],
    "reasons_fit": [
        with_event(2, reason="cancel"),
        with_event(3, reason="job_error"),
        with_event(5, reason="shutdown"),
    ],
    "charges_follow_reasons": [
        with_event(3, charged=False),
        with_event(3, reason="shutdown"),
        with_event(5, charged=True),
    ],
    "times_do_not_run_back": [with_event(5, at=3.5)],
    "times_agree": [
        with_row(submitted_at=at(30)),
        with_row(started_at=None),
        with_row(finished_at=at(30)),
        with_row(queued_at=at(30)),
    ],
}


def test_a_good_story_breaks_no_rule():
    assert list(breaches_of(a_good_story())) == []


@pytest.mark.parametrize("kinds", [["submitted"], ["submitted", "cancelled"], ["submitted", "started"]])
def test_a_story_that_is_not_over_is_good_too(kinds):
    state = {"submitted": "queued", "cancelled": "cancelled", "started": "running"}[kinds[-1]]
    is_running, is_over = kinds[-1] == "started", kinds[-1] == "cancelled"
    row = replace(
        ROW,
        state=state,
        attempt=1,
        failures=0,
        event_count=len(kinds),
        gpu=0 if is_running else None,
        boot="",
        reason="cancel" if is_over else "",
        cancel_requested=is_over,
        queued_at=at(1),
        started_at=at(2) if is_running else None,
        finished_at=at(2) if is_over else None,
    )

    story = [
        an_event(
            n,
            kind,
            row=row,
            gpu=0 if kind == "started" else None,
            reason="cancel" if kind == "cancelled" else "",
        )
        for n, kind in enumerate(kinds, 1)
    ]

    assert list(breaches_of(story)) == []


@pytest.mark.parametrize(("rule", "story"), [(rule, story) for rule, stories in BAD.items() for story in stories])
def test_a_bad_story_breaks_its_rule(rule, story):
    assert rule in {breach.rule for breach in breaches_of(story)}


def test_every_rule_has_a_bad_story():
    assert set(BAD) == {rule.__name__ for rule in RULES}
