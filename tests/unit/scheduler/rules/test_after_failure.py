from __future__ import annotations

from typing import Any

import pytest

from scheduler.rules.after_failure import (
    BACKOFF_SECONDS,
    ELSEWHERE_SECONDS,
    AfterFailure,
    after_failure,
    backoff_seconds,
)
from scheduler.rules.states import CHARGED_REASONS, JobState, Reason


def after(reason: Reason, **changes: Any) -> AfterFailure:
    return after_failure(reason, **{"failures": 0, "max_failures": 3, "cancel_requested": False, **changes})


@pytest.mark.parametrize("reason", sorted(CHARGED_REASONS))
def test_a_charged_failure_requeues_the_job_after_a_back_off_and_elsewhere_first(reason: Reason) -> None:
    assert after(reason) == AfterFailure(
        state=JobState.QUEUED,
        reason=reason,
        charged=True,
        failures=1,
        wait_seconds=BACKOFF_SECONDS[0],
        elsewhere_seconds=BACKOFF_SECONDS[0] + ELSEWHERE_SECONDS,
    )


@pytest.mark.parametrize("reason", [Reason.SHUTDOWN, Reason.OPERATOR, Reason.CLAIM_LOST])
def test_what_is_not_the_jobs_fault_requeues_it_at_once_and_anywhere(reason: Reason) -> None:
    assert after(reason, failures=2) == AfterFailure(
        state=JobState.QUEUED, reason=reason, charged=False, failures=2, wait_seconds=0, elsewhere_seconds=None
    )


def test_the_last_allowed_failure_ends_the_job_as_exhausted() -> None:
    last = after(Reason.WORKER_DIED, failures=2)

    assert (last.state, last.reason, last.failures) == (JobState.FAILED, Reason.EXHAUSTED, 3)
    assert after(Reason.WORKER_DIED, failures=1).state is JobState.QUEUED


def test_a_requested_cancel_comes_before_the_limit() -> None:
    ended = after(Reason.WORKER_DIED, failures=2, cancel_requested=True)

    assert (ended.state, ended.reason, ended.charged) == (JobState.CANCELLED, Reason.WORKER_DIED, True)


def test_the_back_off_grows_with_each_failure_and_then_stays() -> None:
    assert [backoff_seconds(failures) for failures in range(1, 8)] == [1, 2, 4, 8, 15, 15, 15]
