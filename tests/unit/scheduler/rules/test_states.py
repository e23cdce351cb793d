from __future__ import annotations

from itertools import product

import pytest

from scheduler.rules.presets import PRESETS, RATE_MAXIMUM, RATE_MINIMUM, Preset
from scheduler.rules.states import (
    CHARGED_REASONS,
    TERMINAL_STATES,
    TRANSITIONS,
    EventKind,
    IllegalMove,
    JobState,
    Priority,
    Reason,
    event_for,
)

PAIRS = list(product(JobState, JobState))
ILLEGAL = [pair for pair in PAIRS if pair not in TRANSITIONS]


@pytest.mark.parametrize(
    ("state", "wanted", "event"),
    [
        ("queued", "running", "started"),
        ("queued", "cancelled", "cancelled"),
        ("running", "queued", "requeued"),
        ("running", "succeeded", "succeeded"),
        ("running", "failed", "failed"),
        ("running", "cancelled", "cancelled"),
    ],
)
def test_a_legal_move_is_recorded_by_its_event(state: str, wanted: str, event: str) -> None:
    assert event_for(7, JobState(state), JobState(wanted)) is EventKind(event)


def test_six_of_the_twenty_five_pairs_are_legal() -> None:
    assert (len(PAIRS), len(TRANSITIONS), len(ILLEGAL)) == (25, 6, 19)


@pytest.mark.parametrize(("state", "wanted"), ILLEGAL)
def test_any_other_move_raises_and_tells_the_story(state: JobState, wanted: JobState) -> None:
    with pytest.raises(IllegalMove, match=f"job 7 is {state}; {state} -> {wanted}") as caught:
        event_for(7, state, wanted)

    assert (caught.value.job_id, caught.value.state, caught.value.wanted) == (7, state, wanted)


def test_nothing_leaves_a_terminal_state_and_every_other_state_can_be_left() -> None:
    assert {state for state, _ in TRANSITIONS} == set(JobState) - TERMINAL_STATES


def test_priorities_are_read_critical_first() -> None:
    assert [priority.value for priority in sorted(Priority, key=lambda p: p.rank)] == [
        "critical",
        "high",
        "normal",
        "low",
    ]


def test_only_what_the_machine_did_is_charged() -> None:
    assert {reason.value for reason in CHARGED_REASONS} == {
        "child_died",
        "worker_died",
        "worker_restarted",
        "gpu_fault",
    }
    assert not CHARGED_REASONS & {Reason.SHUTDOWN, Reason.OPERATOR, Reason.CLAIM_LOST, Reason.CANCEL}


@pytest.mark.parametrize(
    ("preset", "label", "rate"),
    [
        ("light", "Light Load", 2),
        ("normal", "Normal", 12),
        ("high", "High Load", 25),
        ("extreme", "Extreme", 40),
        ("maximum", "MAXIMUM", 50),
    ],
)
def test_presets_have_their_label_and_rate(preset: str, label: str, rate: float) -> None:
    found = PRESETS[Preset(preset)]

    assert (found.label, found.rate_per_minute) == (label, rate)
    assert RATE_MINIMUM <= found.rate_per_minute <= RATE_MAXIMUM


def test_every_preset_has_a_rate() -> None:
    assert set(PRESETS) == set(Preset)


@pytest.mark.parametrize("written", ["normal", "NORMAL", "Normal"])
def test_words_are_read_in_any_case(written: str) -> None:
    assert Priority(written) is Priority.NORMAL
    assert Preset(written) is Preset.NORMAL
    assert JobState("Failed") is JobState.FAILED


@pytest.mark.parametrize("written", ["urgent", "", " normal", 1, None, ["normal"]])
def test_any_other_word_is_none(written: object) -> None:
    with pytest.raises(ValueError, match="is not a valid Priority"):
        Priority(written)
