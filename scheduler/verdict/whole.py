"""The log as a whole: ids, live counts, roll-ups, allocations and GPUs agree with the jobs and their events.

What retention removed is in its checkpoints, as totals; where it removed something, less can be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from scheduler.verdict.log import errors_that_differ, rows
from scheduler.verdict.rules import Breach

_STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")

#: The ends that are counted by hour. A requeue counts there if it was charged.
_ENDED: Final = """
    SELECT COALESCE(e.gpu, -1), j.type, j.priority, e.kind, e.reason, COUNT(*),
           SUM(CASE WHEN j.accepts_faults AND e.kind <> 'cancelled' THEN 1 ELSE 0 END)
      FROM scheduler_jobevent e JOIN scheduler_job j ON j.id = e.job_id
     WHERE e.kind IN ('succeeded', 'failed', 'cancelled') OR (e.kind = 'requeued' AND e.charged)
     GROUP BY e.gpu, j.type, j.priority, e.kind, e.reason"""
_ROLLED_UP: Final = """
    SELECT gpu, type, priority, outcome, reason, SUM(n), SUM(at_risk)
      FROM scheduler_rollup GROUP BY gpu, type, priority, outcome, reason"""
#: A job that reached its limit of failures is counted under the cause of the last one.
_NO_CAUSE: Final = "exhausted"

_ALLOCATED: Final = """
    SELECT j.id, 'runs on GPU ' || j.gpu || ' without holding it' FROM scheduler_job j
     WHERE j.id >= %s AND j.state = 'running' AND NOT EXISTS (
           SELECT 1 FROM scheduler_allocation a WHERE a.gpu = j.gpu AND a.job_id = j.id AND a.attempt = j.attempt)
     UNION ALL
    SELECT a.job_id, 'holds GPU ' || a.gpu || ' without running there' FROM scheduler_allocation a
     WHERE a.job_id >= %s AND NOT EXISTS (
           SELECT 1 FROM scheduler_job j
            WHERE a.gpu = j.gpu AND a.job_id = j.id AND a.attempt = j.attempt AND j.state = 'running')"""
_STARTS_BY_PRIORITY: Final = """
    SELECT j.priority, COUNT(*) FROM scheduler_jobevent e JOIN scheduler_job j ON j.id = e.job_id
     WHERE e.kind = 'started' GROUP BY j.priority"""
_UNKNOWN_GPUS: Final = """
    SELECT MIN(job_id), gpu FROM scheduler_jobevent
     WHERE job_id >= %s AND gpu IS NOT NULL AND gpu NOT IN (SELECT "index" FROM scheduler_gpu) GROUP BY gpu"""


@dataclass(frozen=True, slots=True)
class Removed:
    """What retention removed. last_job: the highest of those ids; 0: none."""

    states: Counter[str]
    starts: int
    last_job: int

    @property
    def jobs(self) -> int:
        return self.states.total()


def breaches_of_some(first_job: int) -> Iterator[Breach]:
    """What can be told of the jobs from `first_job` on."""
    for job, words in rows(_ALLOCATED, first_job, first_job):
        yield Breach("allocations_agree", job, words)
    for job, gpu in rows(_UNKNOWN_GPUS, first_job):
        yield Breach("gpus_are_known", job, f"ran on GPU {gpu}, which has no row")
    for job in errors_that_differ(first_job):
        yield Breach("row_agrees", job, "the row's error is not that of the event of its end")


def breaches_of_all(states: Mapping[str, int], starts: int, refused_commits: int) -> Iterator[Breach]:
    """states: the rows by state. starts: events of starts. refused_commits: by the witnesses."""
    removed = _removed()
    yield from _ids(removed)
    yield from _counts(states, removed)
    yield from _more_counts(starts, refused_commits, removed)
    yield from _roll_ups(states, removed)


def row_counts() -> dict[str, int]:
    """The number of jobs in each state."""
    return dict(rows("SELECT state, COUNT(*) FROM scheduler_job GROUP BY state"))


def _removed() -> Removed:
    ((succeeded, failed, cancelled, starts, last_job),) = rows(
        "SELECT COALESCE(SUM(succeeded), 0), COALESCE(SUM(failed), 0), COALESCE(SUM(cancelled), 0),"
        " COALESCE(SUM(starts), 0), COALESCE(MAX(job), 0) FROM scheduler_checkpoint"
    )
    states = Counter(succeeded=int(succeeded), failed=int(failed), cancelled=int(cancelled))
    return Removed(states, int(starts), int(last_job))


def _ids(removed: Removed) -> Iterator[Breach]:
    """Ids have no gaps: an id that is neither there nor removed is a lost job."""
    expected, missing, last_missing = 1, 0, 0
    for (job,) in rows("SELECT id FROM scheduler_job ORDER BY id"):
        if job > expected:
            missing, last_missing = missing + job - expected, job - 1
        expected = job + 1
    given = next((int(value) for (value,) in rows("SELECT value FROM scheduler_sequence WHERE name = 'job'")), 0)
    if given >= expected:
        missing, last_missing = missing + given + 1 - expected, given
    if given < expected - 1:
        yield Breach("ids_gapless", expected - 1, f"has an id that was never given: the last one was {given}")
    if missing != removed.jobs:
        yield Breach("ids_gapless", 0, f"{missing} ids have no job, {removed.jobs} jobs were removed")
    elif last_missing != removed.last_job:
        words = f"the last id without a job is {last_missing}, the last job that was removed {removed.last_job}"
        yield Breach("ids_gapless", 0, words)


def _counts(states: Mapping[str, int], removed: Removed) -> Iterator[Breach]:
    """The live counts, which each change of state keeps up to date."""
    kept = {word: int(n) for word, n in rows("SELECT word, SUM(n) FROM scheduler_tally GROUP BY word")}
    counted = Counter(states) + removed.states
    for state in _STATES:
        if counted[state] != kept.get(state, 0):
            words = f"{counted[state]} jobs are {state}, removed ones included; the live count is {kept.get(state, 0)}"
            yield Breach("counts_add_up", 0, words)
    if kept.get("submitted", 0) != counted.total():
        words = f"{kept.get('submitted', 0)} jobs were submitted; the states count {counted.total()}"
        yield Breach("counts_add_up", 0, words)


#: Live counts of what happened to no job.
NOT_OF_A_JOB: Final = frozenset({"commit_refused", "arrival_skipped"})


def _more_counts(starts: int, refused_commits: int, removed: Removed) -> Iterator[Breach]:
    kept: dict[tuple[str, str], int] = {
        (priority, word): int(n)
        for priority, word, n in rows("SELECT priority, word, SUM(n) FROM scheduler_tally GROUP BY priority, word")
    }
    started = sum(n for (_, word), n in kept.items() if word == "started")
    if started != starts + removed.starts:
        words = f"{starts + removed.starts} starts, removed ones included; the live count is {started}"
        yield Breach("counts_add_up", 0, words)
    refused = sum(n for (_, word), n in kept.items() if word == "commit_refused")
    if refused < refused_commits:
        words = f"witnesses saw {refused_commits} results refused; the live count is {refused}"
        yield Breach("counts_add_up", 0, words)
    if removed.jobs:
        return  # which priorities the removed jobs had is not known
    there: Counter[tuple[str, str]] = Counter()
    for priority, state, n in rows("SELECT priority, state, COUNT(*) FROM scheduler_job GROUP BY priority, state"):
        there[priority, state] = n
        there[priority, "submitted"] += n
    for priority, n in rows(_STARTS_BY_PRIORITY):
        there[priority, "started"] = n
    for priority, word in sorted({*there, *(key for key in kept if key[1] not in NOT_OF_A_JOB)}):
        found, live = there[priority, word], kept.get((priority, word), 0)
        if found != live:
            words = f"{found} times a job of priority {priority} was counted as {word}; the live count is {live}"
            yield Breach("counts_add_up", 0, words)


def _roll_ups(states: Mapping[str, int], removed: Removed) -> Iterator[Breach]:
    """The counts by hour, from which failure rates are computed: each end of an attempt once."""
    if removed.jobs:
        rolled = {
            outcome: int(n) for outcome, n in rows("SELECT outcome, SUM(n) FROM scheduler_rollup GROUP BY outcome")
        }
        counted = Counter(states) + removed.states
        for state in ("succeeded", "failed", "cancelled"):
            if rolled.get(state, 0) != counted[state]:
                words = (
                    f"{counted[state]} jobs {state}, removed ones included; the roll-up counts {rolled.get(state, 0)}"
                )
                yield Breach("rollup_agrees", 0, words)
        return
    ended, rolled_up = _by_key(_ENDED), _by_key(_ROLLED_UP)
    for key in sorted({*ended, *rolled_up}):
        ends, counts = ended.get(key, _Ends()), rolled_up.get(key, _Ends())
        gpu, job_type, priority, outcome = key
        of = f"jobs of type {job_type}, priority {priority}, on GPU {gpu}: {outcome}"
        if ends.reasons.total() != counts.reasons.total():
            words = f"{of} {ends.reasons.total()} times; the roll-up counts {counts.reasons.total()}"
            yield Breach("rollup_agrees", 0, words)
        elif ends.at_risk != counts.at_risk:
            words = f"{of} {ends.at_risk} times where a random fault may hit; the roll-up counts {counts.at_risk}"
            yield Breach("rollup_agrees", 0, words)
        for reason, n in sorted(ends.reasons.items()):
            if reason != _NO_CAUSE and n > counts.reasons[reason]:
                words = f"{of} {n} times for {reason or 'no reason'}; the roll-up counts {counts.reasons[reason]}"
                yield Breach("rollup_agrees", 0, words)


class _Ends:
    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.at_risk = 0


def _by_key(statement: str) -> dict[tuple[int, str, str, str], _Ends]:
    found: dict[tuple[int, str, str, str], _Ends] = {}
    for gpu, job_type, priority, outcome, reason, n, at_risk in rows(statement):
        ends = found.setdefault((gpu, job_type, priority, outcome), _Ends())
        ends.reasons[reason] += int(n)
        ends.at_risk += int(at_risk)
    return found
