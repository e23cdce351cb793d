"""The log against what the workers themselves saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from scheduler.verdict.findings import Verdict
from scheduler.verdict.log import Event
from scheduler.verdict.rules import Breach
from scheduler.verdict.witnesses import Testimony

_ENDS: Final = {"succeeded", "failed", "cancelled"}
#: Reasons of a requeue after which the old process may have run on for a while: its death was not confirmed.
_UNCONFIRMED: Final = {"worker_died", "worker_restarted", "claim_lost"}
#: A witness record that is this close to the snapshot may be newer than it: the clocks of machines differ.
CLOCK_SKEW_SECONDS: Final = 5.0
#: A process whose death was confirmed has written nothing this long after its successor's start.
OVERLAP_SECONDS: Final = 0.5


@dataclass(slots=True)
class SeenAttempt:
    """The witness records of one attempt."""

    started: bool = False
    ended: bool = False
    last_at: float = 0.0
    strike_at: float | None = None
    started_at: float | None = None
    #: As the worker committed it: one, if the worker tells the truth.
    end_states: tuple[str, ...] = ()
    #: Boots of workers: more than one if it died between its claim and the answer, and its successor claimed again.
    claimed_by: tuple[str, ...] = ()
    #: Of the worker under which it started and was hit. A result that was kept is committed by any later one.
    ran_under: tuple[str, ...] = ()

    def was_alive_at_least_until(self, start: Event) -> float:
        """In the time of the database: the worker's clock may differ. It noted the start after the database had."""
        return self.last_at if self.started_at is None else self.last_at + (start.at - self.started_at)


type Attempts = dict[tuple[int, int, int], SeenAttempt]


def read_witnesses(verdict: Verdict, records: Iterable[Testimony]) -> Attempts:
    """By (job, attempt, GPU)."""
    seen: Attempts = {}
    for record in records:
        verdict.testimonies += 1
        attempt = seen.setdefault((record.job, record.attempt, record.gpu), SeenAttempt())
        match record.saw:
            case "claiming":
                attempt.claimed_by = _with(attempt.claimed_by, record.boot)
            case "started":
                attempt.started = True
                attempt.started_at = record.at
                attempt.ran_under = _with(attempt.ran_under, record.boot)
            case "ended":
                attempt.ended = True
                if record.state is not None:
                    attempt.end_states = _with(attempt.end_states, record.state)
            case "strike":
                attempt.strike_at = record.at
                attempt.ran_under = _with(attempt.ran_under, record.boot)
            case "refused":
                verdict.refused_commits += 1
        attempt.last_at = max(attempt.last_at, record.at)
    return seen


def _with(words: tuple[str, ...], word: str) -> tuple[str, ...]:
    """There are a hundred thousand of these in memory, nearly all of one word: a set would be four times as large."""
    return words if word in words else (*words, word)


def against_witness(
    verdict: Verdict, story: list[Event], seen: Attempts, now: float, *, clock_is_steady: bool
) -> Iterator[Breach]:
    """Each start has a witness of its worker, each end that a witness saw is in the log as it was seen, and nothing was
    alive beside its successor after its death had been confirmed. Removes the compared from `seen`."""
    job = story[0].job
    ended = {(event.attempt, event.gpu): event for event in story if event.kind in _ENDS}
    previous: tuple[Event, SeenAttempt] | None = None
    is_confirmed = False
    for event in story:
        if event.kind == "requeued" and previous is not None:
            if (strike_at := previous[1].strike_at) is not None:
                verdict.detection_seconds.append(max(0.0, event.at - strike_at))
            is_confirmed = event.reason not in _UNCONFIRMED
        if event.kind != "started":
            continue
        verdict.starts += 1
        record = seen.pop((job, event.attempt, event.gpu or 0), None)
        if record is None or not record.claimed_by:
            verdict.starts_without_witness += 1
            verdict.add_gap(f"job {job}: no witness of its start at attempt {event.attempt} on GPU {event.gpu}")
            continue
        for words in _differences(event, record, ended.get((event.attempt, event.gpu)), now):
            yield Breach("witness_agrees", job, f"the witness of GPU {event.gpu} {words}")
        if previous is not None:
            overlap = previous[1].was_alive_at_least_until(previous[0]) - event.at
            if not is_confirmed:
                verdict.overlaps_in_unconfirmed_kills += overlap > 0
            elif overlap > OVERLAP_SECONDS and clock_is_steady:
                words = (
                    f"the witness of GPU {previous[0].gpu} saw attempt {previous[0].attempt}, whose end was confirmed, "
                    f"{overlap:.1f} s after attempt {event.attempt} had started"
                )
                yield Breach("witness_agrees", job, words)
        previous = (event, record)


def _differences(start: Event, record: SeenAttempt, end: Event | None, now: float) -> Iterator[str]:
    if start.boot not in record.claimed_by or set(record.ran_under) - {start.boot}:
        told = ", ".join(sorted(record.ran_under or record.claimed_by))
        yield f"is of boot {told}; attempt {start.attempt} started under {start.boot!r}"
    if not record.ended:
        return
    if end is None:
        if record.last_at < now - CLOCK_SKEW_SECONDS:
            yield f"saw attempt {start.attempt} end; the log does not show it"
    elif others := set(record.end_states) - {end.kind}:
        yield f"saw attempt {start.attempt} end as {', '.join(sorted(others))}; the log says {end.kind}"
