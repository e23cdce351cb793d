"""The verdict on a run: reads the log job by job, GPU by GPU and in order of time."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Final

from scheduler.verdict import log
from scheduler.verdict.log import Event
from scheduler.verdict.rules import Breach, breaches_of
from scheduler.verdict.witnesses import Testimony, testimonies

#: The number of breaches that are kept with their words; all are counted.
BREACHES_KEPT: Final = 100
#: The number of jobs whose witness records are in memory at one time; the files are read once for each range.
JOBS_AT_ONCE: Final = 100_000

_STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")
#: Above every job's number.
_BEYOND: Final = 2**63 - 1
_ENDS: Final = {"succeeded", "failed", "cancelled"}
_RELEASES: Final = _ENDS | {"requeued"}
#: Reasons of a requeue after which the old process may have run on for a while: its death was not confirmed.
_UNCONFIRMED: Final = {"worker_died", "worker_restarted", "claim_lost"}
#: A job that had waited for less than this when another one started was not overtaken.
INVERSION_GRACE_SECONDS: Final = 1.0
#: A witness record that is this close to the snapshot may be newer than it: the clocks of machines differ.
CLOCK_SKEW_SECONDS: Final = 5.0
#: Reasons that blame the machine under a job, not the job.
_DEATHS: Final = {"child_died", "worker_died", "worker_restarted", "gpu_fault", "exhausted"}
_ORDER: Final = ("critical", "high", "normal", "low")


class VerdictOutcome(IntEnum):
    """The exit code."""

    HOLDS = 0
    BROKEN = 1
    CANNOT_TELL = 2


@dataclass(slots=True)
class Verdict:
    jobs: int = 0
    events: int = 0
    starts: int = 0
    testimonies: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    breaches: list[Breach] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    starts_without_witness: int = 0
    recovery_seconds: array[float] = field(default_factory=lambda: array("d"))
    detection_seconds: array[float] = field(default_factory=lambda: array("d"))
    requeues: Counter[str] = field(default_factory=Counter)
    priority_inversions: int = 0
    #: Starts ahead of more urgent jobs that the ageing rule allows.
    aged_starts: int = 0
    refused_commits: int = 0
    #: Deaths of a job process, worker or GPU in an attempt without an injected fault: 0 on an undisturbed run.
    unexplained_deaths: int = 0
    overlaps_in_unconfirmed_kills: int = 0

    @property
    def outcome(self) -> VerdictOutcome:
        if self.broken:
            return VerdictOutcome.BROKEN
        return VerdictOutcome.CANNOT_TELL if self.gaps else VerdictOutcome.HOLDS

    def add_gap(self, words: str) -> None:
        if len(self.gaps) < BREACHES_KEPT:
            self.gaps.append(words)

    def add(self, breach: Breach) -> None:
        self.broken[breach.rule] += 1
        if len(self.breaches) < BREACHES_KEPT:
            self.breaches.append(breach)

    def as_dict(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome.name.lower(),
            "jobs": self.jobs,
            "events": self.events,
            "starts": self.starts,
            "starts_without_witness": self.starts_without_witness,
            "testimonies": self.testimonies,
            "states": dict(self.counts),
            "broken": dict(self.broken),
            "breaches": [{"rule": b.rule, "job": b.job, "words": b.words} for b in self.breaches],
            "cannot_tell": self.gaps,
            "requeues": dict(self.requeues),
            "detection_seconds": _quantiles(self.detection_seconds),
            "recovery_seconds": _quantiles(self.recovery_seconds),
            "priority_inversions": self.priority_inversions,
            "aged_starts": self.aged_starts,
            "refused_commits": self.refused_commits,
            "unexplained_deaths": self.unexplained_deaths,
            "overlaps_in_unconfirmed_kills": self.overlaps_in_unconfirmed_kills,
        }


def judge(*witness_folders: Path, first_job: int = 0, ageing_seconds: float = 60.0) -> Verdict:
    """first_job: older jobs are not judged. ageing_seconds: after this wait a job may start as if its priority were one
    level higher. Only reads. Raises WitnessInvalid."""
    verdict = Verdict()
    with log.snapshot() as now:
        for first, end in _ranges(first_job):
            # Witnesses are read after the snapshot: each start in it has been recorded by then.
            seen = _read_witnesses(verdict, testimonies(witness_folders, first, end))
            _by_job(verdict, log.events_by_job(first, end), seen, now)
        for job in log.jobs_without_events(first_job):
            verdict.add(Breach("accepted_once", job, "has a row but no events"))
        _by_gpu(verdict, log.events_by_gpu(first_job))
        _by_time(verdict, log.events_in_order(first_job), ageing_seconds)
        if first_job == 0:
            _counts(verdict)
    _find_gaps(verdict)
    return verdict


def _ranges(first_job: int) -> list[tuple[int, int]]:
    """[first, end) of the jobs that are judged together, without a gap; the last range is open.

    The jobs below all others that retention removed are left out: only their witnesses know of them.
    """
    lowest, highest = log.job_range()
    start = max(first_job, min(lowest, log.last_removed_job() + 1))
    cuts = [start, *range(start + JOBS_AT_ONCE, highest, JOBS_AT_ONCE), _BEYOND]
    return list(pairwise(cuts))


# --- witnesses


@dataclass(slots=True)
class SeenAttempt:
    """The witness records of one attempt."""

    claiming: bool = False
    started: bool = False
    ended: bool = False
    last_at: float = 0.0
    strike_at: float | None = None


type Attempts = dict[tuple[int, int, int], SeenAttempt]


def _read_witnesses(verdict: Verdict, records: Iterable[Testimony]) -> Attempts:
    """By (job, attempt, GPU)."""
    seen: Attempts = {}
    for record in records:
        verdict.testimonies += 1
        attempt = seen.setdefault((record.job, record.attempt, record.gpu), SeenAttempt())
        match record.saw:
            case "claiming":
                attempt.claiming = True
            case "started":
                attempt.started = True
            case "ended":
                attempt.ended = True
            case "strike":
                attempt.strike_at = record.at
            case "refused":
                verdict.refused_commits += 1
        attempt.last_at = max(attempt.last_at, record.at)
    return seen


# --- job by job


def _by_job(verdict: Verdict, events: Iterable[Event], seen: Attempts, now: float) -> None:
    with_events: set[int] = set()
    set_backs = log.set_backs()
    for job, group in groupby(events, key=lambda event: event.job):
        story = list(group)
        with_events.add(job)
        verdict.jobs += 1
        verdict.events += len(story)
        for breach in breaches_of(story, set_backs):
            verdict.add(breach)
        for breach in _against_witness(verdict, story, seen, now):
            verdict.add(breach)
        _recoveries(verdict, story)
    last_removed = log.last_removed_job()
    for (job, attempt, gpu), record in seen.items():
        if job <= last_removed and job not in with_events:
            # Retention removed it with its events; the counts show whether anything else did.
            continue
        if (record.started or record.ended) and record.last_at < now - CLOCK_SKEW_SECONDS:
            what = "saw it end" if record.ended else "saw it start"
            words = f"the witness of GPU {gpu} {what} at attempt {attempt}; the log does not show it"
            verdict.add(Breach("witness_agrees", job, words))


def _against_witness(verdict: Verdict, story: list[Event], seen: Attempts, now: float) -> Iterator[Breach]:
    """Each start has a witness, and each end that a witness saw is in the log. Removes the compared from `seen`."""
    job = story[0].job
    ended = {(event.attempt, event.gpu): event for event in story if event.kind in _ENDS}
    previous: tuple[Event, SeenAttempt] | None = None
    current: SeenAttempt | None = None
    for event in story:
        if current is not None and event.kind in {"requeued", "failed"} and event.reason in _DEATHS:
            verdict.unexplained_deaths += current.strike_at is None
        if event.kind == "requeued" and previous is not None:
            if (strike_at := previous[1].strike_at) is not None:
                verdict.detection_seconds.append(max(0.0, event.at - strike_at))
            if event.reason not in _UNCONFIRMED:
                previous = None
        if event.kind != "started":
            continue
        verdict.starts += 1
        current = record = seen.pop((job, event.attempt, event.gpu or 0), None)
        if record is None or not record.claiming:
            verdict.starts_without_witness += 1
            verdict.add_gap(f"job {job}: no witness of its start at attempt {event.attempt} on GPU {event.gpu}")
            continue
        if record.ended and (event.attempt, event.gpu) not in ended and record.last_at < now - CLOCK_SKEW_SECONDS:
            words = f"the witness of GPU {event.gpu} saw attempt {event.attempt} end; the log does not show it"
            yield Breach("witness_agrees", job, words)
        if previous is not None and previous[1].last_at > event.at:
            verdict.overlaps_in_unconfirmed_kills += 1
        previous = (event, record)


def _recoveries(verdict: Verdict, story: list[Event]) -> None:
    for earlier, later in pairwise(story):
        if earlier.kind == "requeued":
            verdict.requeues[earlier.reason] += 1
            if later.kind == "started":
                verdict.recovery_seconds.append(max(0.0, later.at - earlier.at))
    if story[-1].kind == "requeued":
        verdict.requeues[story[-1].reason] += 1


# --- GPU by GPU


def _by_gpu(verdict: Verdict, events: Iterable[tuple[int, int, str]]) -> None:
    """No GPU has two jobs at once."""
    holders: dict[int, int] = {}
    for gpu, job, kind in events:
        holder = holders.get(gpu)
        if kind == "started":
            if holder is not None:
                words = f"started on GPU {gpu} while job {holder} ran there"
                verdict.add(Breach("one_job_for_each_gpu", job, words))
            holders[gpu] = job
        elif job == holder and kind in _RELEASES:
            del holders[gpu]


# --- in order of time


def _by_time(verdict: Verdict, events: Iterable[tuple[int, str, float, str]], ageing_seconds: float) -> None:
    """Starts while a more urgent job had waited for a while: of aged jobs, and the other ones, which are inversions."""
    waiting: dict[str, OrderedDict[int, float]] = {priority: OrderedDict() for priority in _ORDER}
    requeued: dict[int, float] = {}
    for job, kind, at, priority in events:
        if kind == "submitted":
            waiting[priority][job] = at
            continue
        if kind == "requeued":
            # Not in `waiting`: during its back-off no job overtakes it.
            requeued[job] = at
            continue
        since = waiting[priority].pop(job, None)
        since = requeued.pop(job, since)
        if kind == "started":
            rank = _ORDER.index(priority)
            overtaken = _longest_waits(waiting, rank, at)
            if not overtaken:
                continue
            levels = 0 if since is None else int((at - since) / ageing_seconds)
            if min(overtaken) >= max(1, rank - levels):
                verdict.aged_starts += 1
            else:
                verdict.priority_inversions += 1


def _longest_waits(waiting: dict[str, OrderedDict[int, float]], rank: int, at: float) -> list[int]:
    """The more urgent ranks of which a job had waited for a while."""
    firsts = [(each, next(iter(waiting[_ORDER[each]].values()), at)) for each in range(rank)]
    return [each for each, since in firsts if since < at - INVERSION_GRACE_SECONDS]


# --- the whole


def _counts(verdict: Verdict) -> None:
    there, removed, kept = log.row_counts(), log.removed_counts(), log.live_counts()
    verdict.counts = Counter(there)
    counted = Counter(there) + Counter(removed)
    for state in _STATES:
        if counted.get(state, 0) != kept.get(state, 0):
            words = (
                f"{counted.get(state, 0)} jobs are {state}, removed ones included; "
                f"the live count is {kept.get(state, 0)}"
            )
            verdict.add(Breach("counts_add_up", 0, words))
    if kept.get("submitted", 0) != sum(counted.values()):
        words = f"{kept.get('submitted', 0)} jobs were submitted; the states count {sum(counted.values())}"
        verdict.add(Breach("counts_add_up", 0, words))


def _find_gaps(verdict: Verdict) -> None:
    if verdict.events == 0:
        verdict.add_gap("the event log is empty")


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if len(values) == 0:
        return None
    return {"n": len(values), "p50": round(statistics.median(values), 3), "max": round(max(values), 3)}
