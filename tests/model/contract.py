"""What must be true after each step: the tables say what the ledger says, and the verdict finds nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from scheduler.models import Allocation, Job, JobEvent, Rollup, Tally
from scheduler.verdict.findings import VerdictOutcome
from scheduler.verdict.judge import judge
from tests.model.cluster import Cluster
from tests.model.ledger import ENDS, JobShould, Ledger, promise


def check(cluster: Cluster) -> None:
    check_jobs(cluster.ledger)
    check_events(cluster.ledger)
    check_allocations(cluster.ledger)
    check_counts(cluster.ledger)
    check_verdict(cluster)


def check_jobs(ledger: Ledger) -> None:
    rows = {job.id: job for job in Job.objects.all()}
    promise("no job is lost and none appears", rows.keys() == ledger.jobs.keys(), f"{sorted(rows)}")
    for owed in ledger.jobs.values():
        row = rows[owed.id]
        promise("the row is right", _should_say(owed) == _says(row), f"{_says(row)} instead of {_should_say(owed)}")
        promise("charges stay within the limit", row.failures <= row.max_failures, f"job {row.id}: {row.failures}")


def _should_say(job: JobShould) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "attempt": job.attempt,
        "failures": job.failures,
        "reason": job.reason,
        "cancel_requested": job.cancel_requested,
        "event_count": len(job.story),
        "place": (job.gpu, job.boot) if job.state == "running" else None,
        "due": job.due_at if job.state == "queued" else None,
        "has_end": job.state in ENDS,
        "result": job.result,
    }


def _says(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "attempt": job.attempt,
        "failures": job.failures,
        "reason": job.reason,
        "cancel_requested": job.cancel_requested,
        "event_count": job.event_count,
        "place": (job.gpu, job.boot) if job.state == "running" else None,
        "due": job.not_before if job.state == "queued" else None,
        "has_end": job.finished_at is not None,
        "result": job.result,
    }


def check_events(ledger: Ledger) -> None:
    stories: defaultdict[int, list[tuple[str, int, bool]]] = defaultdict(list)
    for job_id, kind, attempt, charged in JobEvent.objects.order_by("job_id", "n").values_list(
        "job_id", "kind", "attempt", "charged"
    ):
        stories[job_id].append((kind, attempt, charged))
    for job in ledger.jobs.values():
        words = f"job {job.id}: {stories[job.id]} instead of {job.story}"
        promise("the events tell what happened", stories[job.id] == job.story, words)


def check_allocations(ledger: Ledger) -> None:
    held = set(Allocation.objects.values_list("gpu", "job_id", "attempt"))
    owed = {(job.gpu, *job.key) for job in ledger.in_state("running")}
    promise("a GPU is held by the job that runs on it", held == owed, f"{held} instead of {owed}")
    gpus = Counter(job.gpu for job in ledger.in_state("running"))
    promise("no GPU has two jobs", all(n == 1 for n in gpus.values()), f"{gpus}")


def check_counts(ledger: Ledger) -> None:
    counts: Counter[str] = Counter()
    for word, n in Tally.objects.values_list("word", "n"):
        counts[word] += n
    owed = Counter(job.state for job in ledger.jobs.values())
    owed.update(submitted=len(ledger.jobs), started=ledger.starts, commit_refused=ledger.refused)
    promise("the live counts add up", +counts == +owed, f"{+counts} instead of {+owed}")
    ended = Counter(kind for job in ledger.jobs.values() for kind, _, charged in job.story if charged or kind in ENDS)
    rolled_up: Counter[str] = Counter()
    for outcome, n in Rollup.objects.values_list("outcome", "n"):
        rolled_up[outcome] += n
    promise("each attempt that ended is in the roll-up once", ended == rolled_up, f"{rolled_up} instead of {ended}")


def check_verdict(cluster: Cluster) -> None:
    if cluster.ledger.jobs:
        verdict = judge(cluster.witness_folder)
        words = "; ".join([*(f"job {b.job} {b.rule}: {b.words}" for b in verdict.breaches), *verdict.gaps])
        promise("the verdict finds nothing", verdict.outcome is VerdictOutcome.HOLDS, words)
