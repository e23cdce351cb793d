"""The verdict on a run: reads the log job by job, GPU by GPU and in order of time."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

from scheduler.verdict import log, whole
from scheduler.verdict.findings import Verdict
from scheduler.verdict.log import Disturbances, Event
from scheduler.verdict.rules import Breach, breaches_of
from scheduler.verdict.sightings import CLOCK_SKEW_SECONDS, Attempts, against_witness, read_witnesses
from scheduler.verdict.witnesses import testimonies

#: The number of jobs whose witness records are in memory at one time; the files are read once for each range.
JOBS_AT_ONCE: Final = 100_000

#: Above every job's number.
_BEYOND: Final = 2**63 - 1
_ENDS: Final = {"succeeded", "failed", "cancelled"}
_RELEASES: Final = _ENDS | {"requeued"}
#: A job that had waited for less than this when another one started was not overtaken.
INVERSION_GRACE_SECONDS: Final = 1.0
#: Reasons that blame the machine under a job, not the job.
_DEATHS: Final = {"child_died", "worker_died", "worker_restarted", "gpu_fault", "exhausted"}
#: The job type that is told to fail, in each way in which a job can.
FAILS_ON_PURPOSE: Final = "fault_injection"
_ORDER: Final = ("critical", "high", "normal", "low")


def judge(*witness_folders: Path, first_job: int = 0, ageing_seconds: float = 60.0) -> Verdict:
    """first_job: older jobs are not judged. ageing_seconds: after this wait a job may start as if its priority were one
    level higher. Only reads. Raises WitnessInvalid."""
    verdict = Verdict()
    with log.snapshot() as now:
        for first, end in _ranges(first_job):
            # Witnesses are read after the snapshot: each start in it has been recorded by then.
            seen = read_witnesses(verdict, testimonies(witness_folders, first, end, verdict.torn_lines))
            _by_job(verdict, log.events_by_job(first, end), seen, now)
        for job in log.jobs_without_events(first_job):
            verdict.add(Breach("accepted_once", job, "has a row but no events"))
        _by_gpu(verdict, log.events_by_gpu(first_job))
        _by_time(verdict, log.events_in_order(first_job), ageing_seconds)
        for breach in whole.breaches_of_some(first_job):
            verdict.add(breach)
        if first_job == 0:
            verdict.counts = Counter(whole.row_counts())
            for breach in whole.breaches_of_all(verdict.counts, verdict.starts, verdict.refused_commits):
                verdict.add(breach)
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


# --- job by job


def _by_job(verdict: Verdict, events: Iterable[Event], seen: Attempts, now: float) -> None:
    with_events: set[int] = set()
    set_backs, disturbances = log.set_backs(), log.disturbances()
    for job, group in groupby(events, key=lambda event: event.job):
        story = list(group)
        with_events.add(job)
        verdict.jobs += 1
        verdict.events += len(story)
        for breach in breaches_of(story, set_backs):
            verdict.add(breach)
        verdict.unexplained_deaths += _unexplained_deaths(story, seen, disturbances)
        for breach in against_witness(verdict, story, seen, now, clock_is_steady=not set_backs):
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


def _unexplained_deaths(story: list[Event], seen: Attempts, disturbances: Disturbances) -> int:
    """The number of this job's attempts that lost their process, worker or GPU without an order."""
    if story[0].row.type == FAILS_ON_PURPOSE:
        return 0
    found, start = 0, None
    for event in story:
        if event.kind == "started":
            start = event
        elif start is not None and event.kind in {"requeued", "failed"} and event.reason in _DEATHS:
            record = seen.get((event.job, start.attempt, start.gpu or 0))
            is_struck = record is not None and record.strike_at is not None
            found += not is_struck and not disturbances.explain(start.gpu, start.at, event.at)
    return found


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


def _find_gaps(verdict: Verdict) -> None:
    if verdict.events == 0:
        verdict.add_gap("the event log is empty")
