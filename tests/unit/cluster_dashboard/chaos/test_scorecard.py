"""The arithmetic of a scorecard, and what makes it fail."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_dashboard.chaos.scorecard import (
    Expectation,
    JobRow,
    Moments,
    Outcome,
    Promise,
    SeenEvent,
    Since,
    missed_promises,
    outcome_of,
    unmet_expectations,
    wasted_gpu_seconds,
)

PROMISE = Promise(detected_seconds=10, recovered_seconds=12)


def event(kind: str, at: float, *, job: int = 1, attempt: int = 1, reason: str = "") -> SeenEvent:
    return SeenEvent(job=job, kind=kind, at=at, attempt=attempt, reason=reason)


def a_row(**changes: Any) -> JobRow:
    values = {"id": 1, "state": "succeeded", "attempt": 1, "failures": 0, "reason": ""}
    return JobRow(**(values | changes))


def test_times_count_from_the_injection() -> None:
    moments = Moments(injected_at=100.0, detected_at=103.5, recovered_at=107.0)

    assert moments.detected_seconds() == pytest.approx(3.5)
    assert moments.recovered_seconds(Since.INJECTION) == pytest.approx(7.0)


def test_recovery_of_what_was_away_counts_from_the_heal() -> None:
    moments = Moments(injected_at=100.0, healed_at=130.0, recovered_at=131.0)

    assert moments.recovered_seconds(Since.HEAL) == pytest.approx(1.0)


def test_a_clocks_grain_makes_no_negative_time() -> None:
    assert Moments(injected_at=100.001, detected_at=100.0).detected_seconds() == 0.0


def test_what_has_not_happened_has_no_time() -> None:
    assert Moments(injected_at=100.0).detected_seconds() is None
    assert Moments(recovered_at=100.0).recovered_seconds(Since.HEAL) is None


def test_kept_promises_are_not_mentioned() -> None:
    assert missed_promises(PROMISE, Moments(injected_at=0, detected_at=10, recovered_at=12)) == []


def test_each_missed_promise_is_told_with_limit_and_figure() -> None:
    assert missed_promises(PROMISE, Moments(injected_at=0, detected_at=10.5, recovered_at=12.4)) == [
        "promised: detected within 10 s; it took 10.5 s",
        "promised: recovered within 12 s; it took 12.4 s",
    ]


def test_what_was_never_seen_is_missed() -> None:
    assert missed_promises(PROMISE, Moments(injected_at=0, detected_at=1)) == [
        "promised: recovered within 12 s; never seen"
    ]


def test_nothing_promised_cannot_be_missed() -> None:
    assert missed_promises(Promise(), Moments()) == []


def test_wasted_is_the_run_time_of_attempts_that_were_taken_back() -> None:
    events = [
        event("submitted", 0),
        event("started", 1),
        event("requeued", 4),
        event("started", 5, attempt=2),
        event("requeued", 7.5, attempt=2),
        event("started", 9, attempt=3),
        event("succeeded", 20, attempt=3),
    ]

    assert wasted_gpu_seconds(events) == pytest.approx(3 + 2.5)


def test_the_last_attempt_of_an_exhausted_job_is_wasted_too() -> None:
    assert wasted_gpu_seconds([event("started", 1), event("failed", 3, reason="exhausted")]) == pytest.approx(2)


def test_a_job_that_fails_by_itself_wastes_nothing() -> None:
    assert wasted_gpu_seconds([event("started", 1), event("failed", 3, reason="job_error")]) == 0


def test_jobs_do_not_mix() -> None:
    events = [event("started", 1, job=1), event("started", 2, job=2), event("requeued", 5, job=2)]

    assert wasted_gpu_seconds(events) == pytest.approx(3)


def test_a_job_without_a_row_is_lost() -> None:
    assert unmet_expectations(Expectation(jobs=(1,)), {}) == ["job 1 is lost"]


@pytest.mark.parametrize(
    ("expectation", "row", "words"),
    [
        (Expectation(jobs=(1,)), a_row(state="queued"), "job 1 is queued (no reason), not succeeded"),
        (Expectation(jobs=(1,), states=("failed",)), a_row(), "job 1 is succeeded (no reason), not failed"),
        (
            Expectation(jobs=(1,), states=("failed",), reason="exhausted"),
            a_row(state="failed", reason="timed_out"),
            "job 1 ended with reason timed_out, not exhausted",
        ),
        (
            Expectation(jobs=(1,), attempt=1),
            a_row(attempt=2, failures=1),
            "job 1 needed 2 attempts, not 1 (1 failures charged)",
        ),
    ],
)
def test_a_job_that_ended_otherwise_is_told(expectation: Expectation, row: JobRow, words: str) -> None:
    assert unmet_expectations(expectation, {1: row}) == [words]


def test_only_a_few_of_many_jobs_are_told_one_by_one() -> None:
    found = unmet_expectations(Expectation(jobs=tuple(range(1, 101))), {})

    assert len(found) == 6
    assert found[-1] == "and 95 more jobs"


def test_a_reason_makes_it_fail_and_a_skip_is_never_a_pass() -> None:
    assert outcome_of([], skipped=False) is Outcome.PASS
    assert outcome_of(["something"], skipped=False) is Outcome.FAIL
    assert outcome_of(["no pidfile"], skipped=True) is Outcome.SKIPPED
