"""The contract, rule by rule, over one job's events. Pure: events in, breaches out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from scheduler.verdict.log import Event, SetBack, seconds

_ENDS: Final = {"succeeded", "failed", "cancelled"}
_STATE_AFTER: Final = {
    "submitted": "queued",
    "started": "running",
    "requeued": "queued",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}
#: The events that are legal after each state.
_MAY_FOLLOW: Final = {
    "queued": {"started", "cancelled"},
    "running": {"requeued", "cancel_requested", "succeeded", "failed", "cancelled"},
}


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken rule. job 0: the log as a whole."""

    rule: str
    job: int
    words: str


#: A requeue or an end for one of these is charged, and nothing else is.
_CHARGED: Final = {"child_died", "worker_died", "worker_restarted", "gpu_fault", "exhausted"}
#: Why an event may happen.
REASONS: Final = {
    "submitted": {""},
    "started": {""},
    "succeeded": {""},
    "cancel_requested": {"cancel"},
    "requeued": {
        *("child_died", "worker_died", "worker_restarted", "gpu_fault"),
        *("shutdown", "operator", "claim_lost"),
    },
    "failed": {
        *("job_error", "out_of_memory", "timed_out", "injected_error", "result_invalid", "unknown_type"),
        "exhausted",
    },
}
#: A lost attempt ends as cancelled if that was requested meanwhile.
REASONS["cancelled"] = {"cancel", *REASONS["requeued"]}
#: An event and the row's times may be written by two statements of one transaction.
ROW_SLACK_SECONDS: Final = 5.0

type Rule = Callable[..., Iterator[str]]

#: The clock is looked at twice a second, and a transaction may commit later than its time says.
SET_BACK_SLACK_SECONDS: Final = 5.0


def accepted_once(events: list[Event]) -> Iterator[str]:
    found = [event.n for event in events if event.kind == "submitted"]
    if found != [1]:
        yield f"submitted {len(found)} times" if len(found) != 1 else f"submitted as event {found[0]}, not 1"


def numbers_gapless(events: list[Event]) -> Iterator[str]:
    numbers = [event.n for event in events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"event numbers are {_short(numbers)}"
    if events[0].row.event_count not in {None, len(events)}:
        yield f"the row counts {events[0].row.event_count} events, the log has {len(events)}"


def known_kinds(events: list[Event]) -> Iterator[str]:
    unknown = sorted({event.kind for event in events} - set(_STATE_AFTER) - {"cancel_requested"})
    if unknown:
        yield f"unknown kinds of events: {', '.join(unknown)}"


def moves_legal(events: list[Event]) -> Iterator[str]:
    """Also: nothing follows a terminal event."""
    state = ""
    for event in events:
        if state and event.kind not in _MAY_FOLLOW.get(state, set()):
            yield f"event {event.n} is {event.kind} after {state}"
        state = _STATE_AFTER.get(event.kind, state)


def row_agrees(events: list[Event]) -> Iterator[str]:
    row = events[0].row
    if row.state is None:
        yield "has events but no row"
        return
    state = next((_STATE_AFTER[event.kind] for event in reversed(events) if event.kind in _STATE_AFTER), "")
    if row.state != state:
        yield f"the row is {row.state}, the log ends with {state or 'no state'}"
    requeues = sum(event.kind == "requeued" for event in events)
    if row.attempt != requeues + 1:
        yield f"the row is at attempt {row.attempt} after {requeues} requeues"
    last = _last(events, {"started"})
    gpu, boot = (last.gpu, last.boot) if last else (None, "")
    if (row.gpu, row.boot) != (gpu, boot):
        yield f"the row names GPU {row.gpu} and boot {row.boot!r}, the last start GPU {gpu} and boot {boot!r}"
    left = _last(events, _ENDS | {"requeued"})
    reason = left.reason if left else ""
    if row.reason != reason:
        yield f"the row's reason is {row.reason!r}, the log's {reason!r}"
    asked = any(event.kind == "cancel_requested" or event.reason == "cancel" for event in events)
    if bool(row.cancel_requested) != asked:
        yield f"the row says that a cancel was {'' if row.cancel_requested else 'not '}requested, the log does not"


def times_agree(events: list[Event], set_backs: Sequence[SetBack] = ()) -> Iterator[str]:
    """The row's times are those of its events. A clock that was set back moves the time since which a job waits."""
    row = events[0].row
    if row.state is None:
        return
    expected: list[tuple[str, Any, Event | None]] = [
        ("submitted", row.submitted_at, _last(events, {"submitted"})),
        ("started", row.started_at, _last(events, {"started"})),
        ("finished", row.finished_at, _last(events, _ENDS)),
    ]
    if not set_backs:
        expected.append(("queued", row.queued_at, _last(events, {"submitted", "requeued"})))
    for word, of_row, event in expected:
        at, logged = seconds(of_row), None if event is None else event.at
        if (at is None) != (logged is None):
            yield f"the row has {'no' if at is None else 'a'} time at which it was {word}, unlike the log"
        elif at is not None and logged is not None and abs(at - logged) > ROW_SLACK_SECONDS:
            side = "before" if at < logged else "after"
            yield f"the row says that it was {word} {abs(at - logged):.3f} s {side} the log does"


def _last(events: list[Event], kinds: Set[str]) -> Event | None:
    return next((event for event in reversed(events) if event.kind in kinds), None)


def starts_rise(events: list[Event]) -> Iterator[str]:
    attempts = [event.attempt for event in events if event.kind == "started"]
    if any(later <= earlier for earlier, later in itertools.pairwise(attempts)):
        yield f"starts carry attempts {_short(attempts)}"


def ends_carry_current_attempt(events: list[Event]) -> Iterator[str]:
    """An end or a requeue carries the attempt, the GPU and the boot of the start before it."""
    started: Event | None = None
    for event in events:
        if event.kind == "started":
            started = event
        elif started is not None and event.kind in _ENDS | {"requeued"}:
            if (event.attempt, event.gpu, event.boot) != (started.attempt, started.gpu, started.boot):
                yield (
                    f"event {event.n} {event.kind} carries attempt {event.attempt} of GPU {event.gpu}; "
                    f"attempt {started.attempt} ran on GPU {started.gpu}"
                )
            started = None


def others_carry_theirs(events: list[Event]) -> Iterator[str]:
    """A start carries the attempt after the requeues before it; a cancel of a running job what its start did; what
    happens to a waiting job no GPU."""
    attempt = 1
    place: tuple[int | None, str] = (None, "")
    for event in events:
        if event.kind == "started":
            place = (event.gpu, event.boot)
            if event.gpu is None:
                yield f"event {event.n} started on no GPU"
        elif (event.gpu, event.boot) != place and (event.kind not in _ENDS | {"requeued"} or place == (None, "")):
            yield f"event {event.n} {event.kind} names GPU {event.gpu}, where the job was on GPU {place[0]}"
        if event.attempt != attempt:
            yield f"event {event.n} {event.kind} carries attempt {event.attempt}; it was attempt {attempt}"
        if event.kind == "requeued":
            attempt, place = attempt + 1, (None, "")


def reasons_fit(events: list[Event]) -> Iterator[str]:
    for event in events:
        if event.reason not in REASONS.get(event.kind, {event.reason}):
            yield f"event {event.n} is {event.kind} for {event.reason!r}"


def charges_follow_reasons(events: list[Event]) -> Iterator[str]:
    """A lost process, worker or GPU is charged; a shutdown, a cancel, the job's own failure and a success are not."""
    for event in events:
        owed = event.kind in _ENDS | {"requeued"} and event.reason in _CHARGED
        if event.charged != owed:
            words = f"{event.kind} {event.reason.replace('_', ' ')}".strip()
            yield f"event {event.n} ({words}) is {'charged' if event.charged else 'not charged'}"


def charges_within_limit(events: list[Event]) -> Iterator[str]:
    charged = sum(event.charged for event in events)
    row = events[0].row
    if row.failures is None or row.max_failures is None:
        return
    if charged != row.failures:
        yield f"{charged} charged events, but the row counts {row.failures} failures"
    if charged > row.max_failures:
        yield f"{charged} failures charged; the limit is {row.max_failures}"
    if charged == row.max_failures and row.state not in {"failed", "cancelled"}:
        yield f"{charged} failures charged, which is the limit, but the job is {row.state}"


def times_do_not_run_back(events: list[Event], set_backs: Sequence[SetBack] = ()) -> Iterator[str]:
    """All times are from the database's clock, whose resolution is one millisecond on SQLite.

    set_backs: when that clock was set back, with which times of one job may run back.
    """
    for earlier, later in itertools.pairwise(events):
        if later.at < earlier.at - 0.002 and not _explained(earlier.at, later.at, set_backs):
            yield f"event {later.n} is {earlier.at - later.at:.3f} s before event {earlier.n}"


def _explained(earlier: float, later: float, set_backs: Sequence[SetBack]) -> bool:
    """Perhaps by several of them together."""
    before = [n for n, each in enumerate(set_backs) if earlier <= each.until + SET_BACK_SLACK_SECONDS]
    after = [n for n, each in enumerate(set_backs) if later >= each.since - SET_BACK_SLACK_SECONDS]
    return bool(before and after) and min(before) <= max(after)


RULES: Final[tuple[Rule, ...]] = (
    accepted_once,
    numbers_gapless,
    known_kinds,
    moves_legal,
    row_agrees,
    starts_rise,
    ends_carry_current_attempt,
    others_carry_theirs,
    reasons_fit,
    charges_follow_reasons,
    charges_within_limit,
    times_do_not_run_back,
    times_agree,
)
#: These look at the times, which a clock that was set back explains.
_OF_TIMES: Final = (times_do_not_run_back, times_agree)


def breaches_of(events: list[Event], set_backs: Sequence[SetBack] = ()) -> Iterator[Breach]:
    """Every rule over one job's events, in order of n."""
    for rule in RULES:
        found = rule(events, set_backs) if rule in _OF_TIMES else rule(events)
        for words in found:
            yield Breach(rule.__name__, events[0].job, words)


def _short(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:12]))
    return shown if len(numbers) <= 12 else f"{shown}, ..."
