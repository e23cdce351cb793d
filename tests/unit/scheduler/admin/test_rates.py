"""Intervals against published values, and the rates from the counts of the roll-up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.admin.rates import Counted, summarise, wilson

NO_GPU = -1


def counted(**fields) -> Counted:
    values = {"gpu": 0, "type": "sleep", "priority": "low", "outcome": "succeeded", "reason": "", "n": 1}
    return Counted(**({"at_risk": 0, "expected": 0.0} | values | fields))


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # The complements.
        (20, 20, 0.8389, 1.0000),
    ],
)
def test_the_interval_is_the_published_one(hits, of, low, high):
    share = wilson(hits, of)

    assert share is not None
    assert (share.low, share.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_without_a_trial_there_is_no_rate():
    assert wilson(0, 0) is None


@given(st.integers(1, 10**7).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_rate_lies_in_its_interval_and_the_interval_in_0_to_1(trial):
    share = wilson(*trial)

    assert share is not None
    assert 0 <= share.low <= share.rate <= share.high <= 1


def test_a_charged_requeue_is_a_failure_and_a_cancel_is_nothing():
    rows = [
        counted(n=6),
        counted(outcome="failed", reason="job_error", n=2),
        counted(outcome="requeued", reason="child_died", n=2),
        counted(outcome="cancelled", reason="cancel", n=50),
    ]

    total = summarise(rows, no_gpu=NO_GPU).total

    assert (total.finished, total.failed, total.cancelled) == (10, 4, 50)
    assert total.failure is not None
    assert total.failure.rate == 0.4


def test_counts_are_summed_along_each_dimension():
    rows = [
        counted(gpu=0, type="sleep", priority="low", n=1),
        counted(gpu=1, type="sleep", priority="high", n=2),
        counted(gpu=1, type="matrix", priority="high", n=4, outcome="failed", reason="timed_out"),
    ]

    found = summarise(rows, no_gpu=NO_GPU)

    assert {gpu: each.finished for gpu, each in found.by_gpu.items()} == {0: 1, 1: 6}
    assert {name: each.finished for name, each in found.by_type.items()} == {"sleep": 3, "matrix": 4}
    assert {name: each.finished for name, each in found.by_priority.items()} == {"low": 1, "high": 6}


def test_reasons_come_in_order_of_their_number():
    rows = [
        counted(outcome="failed", reason="timed_out", n=1),
        counted(outcome="failed", reason="job_error", n=5),
        counted(outcome="requeued", reason="timed_out", n=1),
    ]

    assert list(summarise(rows, no_gpu=NO_GPU).by_reason.items()) == [("job_error", 5), ("timed_out", 2)]


def test_a_job_that_never_ran_is_on_no_gpu():
    found = summarise([counted(gpu=NO_GPU, outcome="cancelled")], no_gpu=NO_GPU)

    assert found.by_gpu == {}
    assert found.total.cancelled == 1


def test_only_what_random_faults_cause_counts_as_an_observed_fault():
    rows = [
        counted(n=90, at_risk=90, expected=4.5),
        counted(outcome="failed", reason="injected_error", n=5, at_risk=5, expected=0.25),
        counted(outcome="failed", reason="result_invalid", n=5, at_risk=5, expected=0.25),
    ]

    total = summarise(rows, no_gpu=NO_GPU).total

    assert (total.faults, total.at_risk) == (5, 100)
    assert total.expected_fault_rate == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("faults", "word"), [(0, "fewer than expected"), (50, "as expected"), (90, "more than expected")]
)
def test_an_expectation_outside_the_interval_is_a_surprise(faults, word):
    rows = [
        counted(n=1000 - faults, at_risk=1000 - faults, expected=50.0),
        counted(outcome="failed", reason="injected_error", n=faults, at_risk=faults),
    ]

    assert summarise(rows, no_gpu=NO_GPU).total.surprise == word


def test_where_no_attempt_was_at_risk_nothing_is_said():
    total = summarise([counted(n=10)], no_gpu=NO_GPU).total

    assert (total.fault, total.expected_fault_rate, total.surprise) == (None, None, "")
