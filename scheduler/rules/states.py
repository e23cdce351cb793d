"""A job's states, priorities, events and reasons, and its legal moves. Models, API, CLI and page use these."""

from __future__ import annotations

from typing import Final

from scheduler.rules.words import Word


class JobState(Word):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(Word):
    """In the order in which the queues are read: strict, the first one first."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for CRITICAL, 3 for LOW."""
        return PRIORITY_ORDER.index(self)


PRIORITY_ORDER: Final = tuple(Priority)


class Source(Word):
    """Who submitted a job. Random faults hit only GENERATOR unless a job opts in."""

    GENERATOR = "generator"
    API = "api"
    ADMIN = "admin"
    CLI = "cli"


class EventKind(Word):
    """What happened to a job; one event row for each."""

    SUBMITTED = "submitted"
    STARTED = "started"
    CANCEL_REQUESTED = "cancel_requested"
    REQUEUED = "requeued"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(Word):
    """Why a job left the state it was in."""

    # The job itself: final, the same code would fail again.
    JOB_ERROR = "job_error"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    INJECTED_ERROR = "injected_error"
    RESULT_INVALID = "result_invalid"
    UNKNOWN_TYPE = "unknown_type"
    # The machine under it: the job is requeued, and the failure is charged.
    CHILD_DIED = "child_died"
    WORKER_DIED = "worker_died"
    WORKER_RESTARTED = "worker_restarted"
    GPU_FAULT = "gpu_fault"
    EXHAUSTED = "exhausted"
    # Nobody's fault: the job is requeued, and nothing is charged.
    SHUTDOWN = "shutdown"
    OPERATOR = "operator"
    CLAIM_LOST = "claim_lost"
    # Requested.
    CANCEL = "cancel"


#: Reasons for which a requeue adds 1 to the job's `failures`.
CHARGED_REASONS: Final = frozenset({Reason.CHILD_DIED, Reason.WORKER_DIED, Reason.WORKER_RESTARTED, Reason.GPU_FAULT})

TERMINAL_STATES: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

#: Every legal move and the event that records it. Any other move raises IllegalMove.
TRANSITIONS: Final[dict[tuple[JobState, JobState], EventKind]] = {
    (JobState.QUEUED, JobState.RUNNING): EventKind.STARTED,
    (JobState.QUEUED, JobState.CANCELLED): EventKind.CANCELLED,
    (JobState.RUNNING, JobState.QUEUED): EventKind.REQUEUED,
    (JobState.RUNNING, JobState.SUCCEEDED): EventKind.SUCCEEDED,
    (JobState.RUNNING, JobState.FAILED): EventKind.FAILED,
    (JobState.RUNNING, JobState.CANCELLED): EventKind.CANCELLED,
}


class IllegalMove(Exception):
    """A move that is not in TRANSITIONS: a bug of this program, never a job's failure."""

    def __init__(self, job_id: int, state: JobState, wanted: JobState) -> None:
        super().__init__(f"job {job_id} is {state}; {state} -> {wanted} is not a legal move")
        self.job_id, self.state, self.wanted = job_id, state, wanted


def event_for(job_id: int, state: JobState, wanted: JobState) -> EventKind:
    """The event that records the move, or IllegalMove."""
    kind = TRANSITIONS.get((state, wanted))
    if kind is None:
        raise IllegalMove(job_id, state, wanted)
    return kind
