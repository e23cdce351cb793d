"""What happens to a running job whose attempt is lost: it is requeued or ends, and when and where it starts again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scheduler.rules.states import CHARGED_REASONS, JobState, Reason

#: Seconds before a job may start again after its first, second, ... charged failure; the last one repeats.
BACKOFF_SECONDS: Final = (1, 2, 4, 8, 15)

#: For this time after its back-off, a job is left to another GPU than the one on which it failed.
ELSEWHERE_SECONDS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterFailure:
    """state: queued, or the terminal state. failures: the charged ones, this one included.

    wait_seconds: from now until the job may start; elsewhere_seconds: from now until it may start on the GPU on
    which it failed (None: at once). Both matter only if it is queued.
    """

    state: JobState
    reason: Reason
    charged: bool
    failures: int
    wait_seconds: int
    elsewhere_seconds: int | None


def after_failure(reason: Reason, *, failures: int, max_failures: int, cancel_requested: bool) -> AfterFailure:
    """reason: why the running attempt is lost. failures: charged before. A requested cancel is honoured first."""
    charged = reason in CHARGED_REASONS
    failures += charged
    state = _state(failures, max_failures, cancel_requested=cancel_requested)
    wait_seconds = backoff_seconds(failures) if charged else 0
    return AfterFailure(
        state=state,
        reason=Reason.EXHAUSTED if state is JobState.FAILED else reason,
        charged=charged,
        failures=failures,
        wait_seconds=wait_seconds,
        elsewhere_seconds=wait_seconds + ELSEWHERE_SECONDS if charged else None,
    )


def backoff_seconds(failures: int) -> int:
    """After this number of charged failures, 1 or more."""
    return BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]


def _state(failures: int, max_failures: int, *, cancel_requested: bool) -> JobState:
    if cancel_requested:
        return JobState.CANCELLED
    return JobState.FAILED if failures >= max_failures else JobState.QUEUED
