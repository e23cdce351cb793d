"""The metrics of jobs, queues, scheduler and broker."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from cluster_dashboard.api.http.problems import REFUSED
from cluster_dashboard.live.read import RedisView
from cluster_dashboard.live.totals import Totals
from cluster_dashboard.metrics.builders import counter, gauge, single
from cluster_dashboard.metrics.numbers import DatabaseNumbers
from scheduler.jobs.room import Lack, Room, shortage_in
from scheduler.loops.skipped_arrivals import ARRIVAL_SKIPPED
from scheduler.rules.outcomes import failures, known_ends
from scheduler.rules.states import PRIORITY_ORDER, EventKind, JobState


def jobs(totals: Totals) -> Iterator[Metric]:
    jobs = gauge("jobs", "Jobs by state and priority", ["state", "priority"])
    submitted = counter("jobs_submitted", "Jobs that were accepted", ["priority"])
    starts = counter("job_starts", "Attempts that were started", ["priority"])
    for priority in PRIORITY_ORDER:
        for state in JobState:
            jobs.add_metric([state, priority], totals.words[priority, state])
        submitted.add_metric([priority], totals.words[priority, EventKind.SUBMITTED])
        starts.add_metric([priority], totals.words[priority, EventKind.STARTED])
    ended = counter(
        "attempts_ended",
        "Attempts that ended, and requeues with a charged failure, by outcome and reason",
        ["outcome", "reason"],
    )
    # From 0 on, also what has not happened yet: increase() and rate() do not see the first event of a new series.
    for outcome, reason in sorted({*totals.ended, *known_ends()}):
        ended.add_metric([outcome, reason], totals.ended[outcome, reason])
    share = failures(totals.outcomes).share
    if share is not None:
        words = "Failed attempts as a share of those that succeeded or failed; cancelled ones count in neither"
        yield single("attempts_failed_ratio", words, share)
    requeues = counter("requeues", "Running jobs that were requeued, with and without a charged failure", ["charged"])
    requeues.add_metric(["true"], totals.requeued_charged)
    requeues.add_metric(["false"], totals.requeued_uncharged)
    refused = counter(
        "commits_refused", "Results that were refused because their attempt was no longer the current one", []
    )
    refused.add_metric([], totals.of("commit_refused"))
    yield from (jobs, submitted, starts, ended, requeues, refused)


def queues(database: DatabaseNumbers) -> Iterator[Metric]:
    waiting = gauge("queue_waiting_jobs", "Jobs in the state queued", ["priority"])
    oldest = gauge("queue_oldest_seconds", "Seconds that the oldest queued job has waited", ["priority"])
    for priority in PRIORITY_ORDER:
        waiting.add_metric([priority], database.totals.words[priority, JobState.QUEUED])
        if priority in database.oldest:
            oldest.add_metric([priority], database.oldest[priority])
    yield from (waiting, oldest)


def cluster(database: DatabaseNumbers, live: RedisView | None) -> Iterator[Metric]:
    control, room = database.control, database.room
    if control is not None:
        yield single("generator_rate_per_minute", "Jobs a minute that the generator submits", control.rate_per_minute)
        yield single("generator_paused", "1 while the generator is paused", control.paused)
    skipped = counter("arrivals_skipped", "Arrivals of the generator that could not be made into a job", [])
    skipped.add_metric([], database.totals.of(ARRIVAL_SKIPPED))
    yield skipped
    leases = gauge(
        "loop_lease_seconds",
        "Seconds until the lease of a scheduler loop expires; below 0: no scheduler runs the loop",
        ["loop"],
    )
    for lease in database.leases:
        leases.add_metric([lease.name], (lease.expires_at - database.now).total_seconds())
    yield leases
    yield single("disk_free_bytes", "Free bytes on the disk to which jobs are written", room.free_bytes)
    share = None if live is None else live.broker_share
    shortage = shortage_in(Room(free_bytes=room.free_bytes, queued=room.queued, broker_share=share))
    no_room = gauge("no_room", "1 while new jobs are refused for this reason", ["reason"])
    for lack in Lack:
        no_room.add_metric([lack], shortage is not None and shortage.lack is lack)
    yield no_room


def refused() -> Metric:
    refused = counter(
        "submissions_refused", "Submissions that this web process refused because there was no room", ["reason"]
    )
    for lack in Lack:
        refused.add_metric([lack], REFUSED[lack])
    return refused


def broker(live: RedisView) -> Iterator[Metric]:
    hints = gauge("queue_hints", "Hints in the broker", ["priority"])
    for priority in PRIORITY_ORDER:
        hints.add_metric([priority], live.in_redis[priority])
    yield hints
    if live.dead_letters is not None:
        letters = counter(
            "dead_letters",
            "Messages that this cluster did not send or that were malformed, since the broker was last emptied",
            [],
        )
        letters.add_metric([], live.dead_letters.total)
        yield letters
        yield single("dead_letters_kept", "Dead letters that are kept and can be read", live.dead_letters.kept)
    if live.broker_share is not None:
        yield single("broker_memory_ratio", "Share of the broker's maxmemory that is in use", live.broker_share)
