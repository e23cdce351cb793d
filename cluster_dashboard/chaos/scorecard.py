"""The result of one scenario, in figures and a verdict. Pure: moments, events and rows in, a scorecard out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Outcome(StrEnum):
    PASS = "pass"  # noqa: S105 (no password)
    FAIL = "fail"
    #: Impossible on this machine or cluster: never a pass.
    SKIPPED = "skipped"


class Since(StrEnum):
    """The moment from which a recovery is measured."""

    INJECTION = "injection"
    #: An unavailable part cannot be used before it is healed; the time until it is used again counts.
    HEAL = "heal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Limits in seconds. None: nothing is promised, or nothing can be measured."""

    detected_seconds: float | None = None
    recovered_seconds: float | None = None
    since: Since = Since.INJECTION


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvent:
    """One event of a job. at: seconds since the epoch by the database's clock."""

    job: int
    kind: str
    at: float
    attempt: int
    gpu: int | None = None
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Moments:
    """Seconds since the epoch by the database's clock; None: has not happened."""

    injected_at: float | None = None
    detected_at: float | None = None
    healed_at: float | None = None
    recovered_at: float | None = None

    def detected_seconds(self) -> float | None:
        return _between(self.injected_at, self.detected_at)

    def recovered_seconds(self, since: Since) -> float | None:
        return _between(self.healed_at if since is Since.HEAL else self.injected_at, self.recovered_at)


def _between(earlier: float | None, later: float | None) -> float | None:
    # The clocks of this process and of the database may differ by their resolution.
    return None if earlier is None or later is None else max(0.0, later - earlier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    scenario: str
    seed: int
    round: int
    outcome: Outcome
    #: Why the scenario failed or was skipped.
    reasons: tuple[str, ...]
    detected_seconds: float | None
    recovered_seconds: float | None
    promise: Promise
    wasted_gpu_seconds: float
    jobs: int
    took_seconds: float
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "round": self.round,
            "verdict": self.outcome.value,
            "reasons": list(self.reasons),
            "detected_seconds": _rounded(self.detected_seconds),
            "detected_promise_seconds": self.promise.detected_seconds,
            "recovered_seconds": _rounded(self.recovered_seconds),
            "recovered_promise_seconds": self.promise.recovered_seconds,
            "recovered_since": self.promise.since.value,
            "wasted_gpu_seconds": round(self.wasted_gpu_seconds, 2),
            "jobs": self.jobs,
            "took_seconds": round(self.took_seconds, 1),
            "facts": self.facts,
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def missed_promises(promise: Promise, moments: Moments) -> list[str]:
    """In words; empty if every promise was kept. What was never seen breaks its promise."""
    measured = (
        ("detected", promise.detected_seconds, moments.detected_seconds()),
        ("recovered", promise.recovered_seconds, moments.recovered_seconds(promise.since)),
    )
    return [
        f"promised: {what} within {limit:g} s; " + ("never seen" if found is None else f"it took {found:.1f} s")
        for what, limit, found in measured
        if limit is not None and (found is None or found > limit)
    ]


#: The reason of a failure that is not the job's own result.
_EXHAUSTED: Final = "exhausted"


def wasted_gpu_seconds(events: Iterable[SeenEvent]) -> float:
    """The run time of all attempts that were requeued: GPU time without a result."""
    started: dict[tuple[int, int], float] = {}
    wasted = 0.0
    for event in sorted(events, key=lambda event: event.at):
        key = event.job, event.attempt
        if event.kind == "started":
            started[key] = event.at
        elif key in started and (event.kind == "requeued" or (event.kind == "failed" and event.reason == _EXHAUSTED)):
            wasted += event.at - started.pop(key)
    return wasted


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job's row in the database."""

    id: int
    state: str
    attempt: int
    failures: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """How these jobs must end. attempt: the last one; None accepts any. 1 means: never requeued, no failure charged."""

    jobs: tuple[int, ...]
    states: tuple[str, ...] = ("succeeded",)
    reason: str | None = None
    attempt: int | None = None


#: The number of jobs that are named one by one.
_NAMED: Final = 5


def unmet_expectations(expectation: Expectation, rows: dict[int, JobRow]) -> list[str]:
    """In words: jobs that are lost, or ended in another way."""
    found = [words for job in expectation.jobs if (words := _unmet(expectation, job, rows.get(job)))]
    return found[:_NAMED] + ([f"and {len(found) - _NAMED} more jobs"] if len(found) > _NAMED else [])


def _unmet(expectation: Expectation, job: int, row: JobRow | None) -> str | None:
    if row is None:
        return f"job {job} is lost"
    if row.state not in expectation.states:
        return f"job {job} is {row.state} ({row.reason or 'no reason'}), not {' or '.join(expectation.states)}"
    if expectation.reason is not None and row.reason != expectation.reason:
        return f"job {job} ended with reason {row.reason or 'none'}, not {expectation.reason}"
    if expectation.attempt is not None and row.attempt != expectation.attempt:
        return f"job {job} needed {row.attempt} attempts, not {expectation.attempt} ({row.failures} failures charged)"
    return None


def outcome_of(reasons: Sequence[str], *, skipped: bool) -> Outcome:
    """Reasons found before a scenario was skipped still count as a failure."""
    if skipped:
        return Outcome.SKIPPED
    return Outcome.FAIL if reasons else Outcome.PASS
