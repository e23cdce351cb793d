"""The parts of the documentation that show tables of the code: states, reasons, faults."""

from __future__ import annotations

from docs.tools.pages import table
from scheduler.rules.faults import FAULTS
from scheduler.rules.states import CHARGED_REASONS, TERMINAL_STATES, TRANSITIONS, JobState, Reason

#: What brings each reason about, for people who read it in a job's row.
MEANINGS: dict[Reason, str] = {
    Reason.JOB_ERROR: "the job's code raised an exception",
    Reason.OUT_OF_MEMORY: "the job ran out of memory or GPU memory",
    Reason.TIMED_OUT: "the job ran longer than its time limit",
    Reason.INJECTED_ERROR: "a random fault made the job fail",
    Reason.RESULT_INVALID: "the job's result is not JSON, or too large",
    Reason.UNKNOWN_TYPE: "no installed job type has this name",
    Reason.CHILD_DIED: "the job process died",
    Reason.WORKER_DIED: "the worker sent no heartbeat for 9 s",
    Reason.WORKER_RESTARTED: "the GPU's worker restarted while the job ran",
    Reason.GPU_FAULT: "the GPU failed",
    Reason.EXHAUSTED: "the limit of charged failures (`max_failures`) is reached",
    Reason.SHUTDOWN: "the worker was stopped",
    Reason.OPERATOR: "an operator requeued the job",
    Reason.CLAIM_LOST: "the worker could not confirm its claim, or lost it",
    Reason.CANCEL: "somebody cancelled the job",
}


def state_chart() -> str:
    """A Mermaid chart of the table of legal moves."""
    moves = [f"    {before} --> {after}: {event}" for (before, after), event in TRANSITIONS.items()]
    ends = [f"    {state} --> [*]" for state in JobState if state in TERMINAL_STATES]
    return "\n".join(
        ["```mermaid", "stateDiagram-v2", f"    [*] --> {JobState.QUEUED}: submitted", *moves, *ends, "```"]
    )


def reasons() -> str:
    rows = [(f"`{reason}`", MEANINGS[reason], "yes" if reason in CHARGED_REASONS else "no") for reason in Reason]
    return table(("reason", "meaning", "charged"), rows)


def faults() -> str:
    rows = [
        (f"`{kind}`", effect.label, f"`{effect.reason}`", "requeued, charged" if effect.retried else "failed")
        for kind, effect in FAULTS.items()
    ]
    return table(("fault", "what happens", "reason in the job", "job"), rows)
