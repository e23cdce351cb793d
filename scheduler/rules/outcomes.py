"""What counts as a failure, and of what: one definition for the page, the admin, the metrics and the commands.

A job or attempt is finished if it succeeded or failed. One that was cancelled is neither: a cancel says nothing of the
work, and would make a share of failures fall.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from scheduler.rules.states import CHARGED_REASONS, EventKind, Reason

#: Ends of an attempt that are failures. A requeue counts here if it was charged; no other one is ever counted.
FAILED_OUTCOMES: Final = frozenset({EventKind.FAILED, EventKind.REQUEUED})
FINISHED_OUTCOMES: Final = FAILED_OUTCOMES | {EventKind.SUCCEEDED}


#: How a job can end by itself.
_OWN_FAILURES: Final = (
    Reason.JOB_ERROR,
    Reason.OUT_OF_MEMORY,
    Reason.TIMED_OUT,
    Reason.INJECTED_ERROR,
    Reason.RESULT_INVALID,
    Reason.UNKNOWN_TYPE,
)


def known_ends() -> list[tuple[EventKind, str]]:
    """Every pair of outcome and reason that is counted when an attempt ends; success has no reason.

    A lost attempt with a requested cancel is cancelled with the reason of its loss.
    """
    lost = sorted({*Reason} - {*_OWN_FAILURES, Reason.EXHAUSTED, Reason.CANCEL})
    return [
        (EventKind.SUCCEEDED, ""),
        *((EventKind.FAILED, reason) for reason in (*_OWN_FAILURES, Reason.EXHAUSTED)),
        *((EventKind.CANCELLED, reason) for reason in (Reason.CANCEL, *lost)),
        *((EventKind.REQUEUED, reason) for reason in sorted(CHARGED_REASONS)),
    ]


class Failures(NamedTuple):
    """Of jobs, or of attempts."""

    failed: int
    finished: int

    @property
    def share(self) -> float | None:
        """0 to 1; None if nothing has finished."""
        return self.failed / self.finished if self.finished else None


def failures(counts: Mapping[str, int]) -> Failures:
    """counts: the number of ends by outcome, such as {"succeeded": 9, "failed": 1, "cancelled": 500}: 1 of 10."""
    return Failures(
        failed=sum(counts.get(outcome, 0) for outcome in FAILED_OUTCOMES),
        finished=sum(counts.get(outcome, 0) for outcome in FINISHED_OUTCOMES),
    )
