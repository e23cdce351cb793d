"""What a scenario works with: its jobs, its random choices, the database's clock, and what must be healed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import batched
from random import Random
from typing import Any, Final

from django.db import connection
from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.chaos.scorecard import Expectation, JobRow, Moments, SeenEvent
from gpu_tasks.faults import requests as fault_requests
from gpu_tasks.faults.injection import HANG_SECONDS, Victim
from scheduler.database_errors import DatabaseFailure, is_unavailable
from scheduler.jobs import clock, lifecycle
from scheduler.jobs import submit as intake
from scheduler.jobs.admission import job_requests
from scheduler.models import Job, JobEvent
from scheduler.rules.faults import FaultKind
from scheduler.rules.job_limits import FAILURE_LIMIT, TIME_LIMIT_SECONDS
from scheduler.rules.states import TERMINAL_STATES, EventKind, Priority, Source

#: The names of all jobs that scenarios submit begin with this; every other job is a user's.
NAME_PREFIX: Final = "chaos-"
ACTOR: Final = "chaos"

STAGE_POLL_SECONDS: Final = 0.05
#: The time that a scenario waits for something that takes a moment on an idle cluster.
PATIENCE_SECONDS: Final = 60.0
#: Ids in one query.
BATCH: Final = 500


class NotSeen(Exception):
    """What should have happened was not seen in time; the message names it."""


class CannotPlay(Exception):
    """The scenario is impossible here; the message says why."""


@dataclass(frozen=True, slots=True)
class DatabaseClock:
    """The database's clock, known without a query: the database may be unavailable."""

    ahead_seconds: float

    @staticmethod
    def set() -> DatabaseClock:
        """Of a few queries, the fastest one is the most exact."""
        found = []
        for _ in range(5):
            before = time.time()
            there = clock.database_now().timestamp()
            after = time.time()
            found.append((after - before, there - (before + after) / 2))
        return DatabaseClock(min(found)[1])

    def now(self) -> float:
        return time.time() + self.ahead_seconds


@dataclass(slots=True, kw_only=True)
class Stage:
    """One for each play of a scenario."""

    name: str
    token: str
    rng: Random
    redis: Redis
    clock: DatabaseClock
    #: GPUs whose workers start jobs.
    gpus: tuple[int, ...]
    #: Whether the API is reachable on this machine.
    has_web: bool
    healing: ExitStack
    moments: Moments = field(default_factory=Moments)
    jobs: list[int] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    _submissions: int = 0

    # --- jobs

    def submit(
        self,
        type: str = "sleep",  # noqa: A002 (the field's name everywhere)
        *,
        count: int = 1,
        priority: Priority = Priority.HIGH,
        hint: bool = True,
        time_limit_seconds: int = TIME_LIMIT_SECONDS,
        max_failures: int = FAILURE_LIMIT,
        **params: Any,
    ) -> list[int]:
        """Jobs of the scenario, admitted like all others. hint=False: only the relay sends their hints."""
        requests = job_requests(
            type=type,
            count=count,
            priority=priority,
            params=params,
            source=Source.CLI,
            owner=ACTOR,
            name=self.next_name(),
            time_limit_seconds=time_limit_seconds,
            max_failures=max_failures,
        )
        # What the broker holds is not asked: it may be what this scenario breaks.
        submitted = intake.submit(requests, client=self.redis if hint else None, broker_share=None)
        ids = [job.id for job in submitted]
        self.jobs += ids
        return ids

    def next_name(self) -> str:
        self._submissions += 1
        return f"{NAME_PREFIX}{self.name.replace('_', '-')}-{self.token}-{self._submissions}"

    def sleeps(self, seconds: float, count: int = 1, **more: Any) -> list[int]:
        return self.submit("sleep", count=count, seconds=seconds, memory_mib=256, load=0.5, **more)

    def expect(self, jobs: Iterable[int], *states: str, reason: str | None = None, attempt: int | None = None) -> None:
        """Checked when all jobs have ended. attempt=1: the jobs must not have been requeued."""
        self.expectations.append(
            Expectation(jobs=tuple(jobs), states=states or ("succeeded",), reason=reason, attempt=attempt)
        )

    # --- the injector

    def moment(self, shortest: float = 0.2, longest: float = 1.0) -> None:
        """Waits for a random time."""
        time.sleep(self.rng.uniform(shortest, longest))

    def injected(self) -> None:
        self.moments.injected_at = self.clock.now()

    def healed(self) -> None:
        self.moments.healed_at = self.clock.now()

    def detected(self, at: float | None = None) -> None:
        self.moments.detected_at = self.clock.now() if at is None else at

    def recovered(self, at: float | None = None) -> None:
        self.moments.recovered_at = self.clock.now() if at is None else at

    def inject(self, kind: FaultKind, gpu: int, *, hang_seconds: float = HANG_SECONDS) -> Victim:
        """Injects a fault, by the code that the page uses too."""
        if self.moments.injected_at is None:
            self.injected()
        victim = fault_requests.inject(kind, gpu, self.redis, actor=ACTOR, hang_seconds=hang_seconds)
        if kind is FaultKind.WORKER_HUNG:
            self.healing.callback(fault_requests.wake, victim, gpu)
        return victim

    # --- waiting

    def wait_for[T](self, condition: Callable[[], T | None], seconds: float, words: str) -> T:
        """The condition's first true value; NotSeen after `seconds`.

        While broker or database is unavailable, the condition is not true. An error that waiting does not mend is
        raised.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                value: T | None = condition()
            except (DatabaseFailure, RedisError, OSError) as error:
                if isinstance(error, DatabaseFailure) and not is_unavailable(error):
                    raise
                connection.close()
                value = None
            if value:
                return value
            if time.monotonic() > deadline:
                raise NotSeen(f"{words}: not seen within {seconds:g} s")
            time.sleep(STAGE_POLL_SECONDS)

    def event(self, job: int, kind: EventKind, *, attempt: int = 1, seconds: float = PATIENCE_SECONDS) -> SeenEvent:
        def found() -> SeenEvent | None:
            rows = JobEvent.objects.filter(job_id=job, kind=kind, attempt=attempt)
            return next(map(_seen, rows), None)

        return self.wait_for(found, seconds, f"job {job} {kind.value}, attempt {attempt}")

    def starts(self, jobs: Sequence[int], count: int = 1) -> list[SeenEvent]:
        """Waits until `count` of them have started; returns the starts, by GPU."""

        def found() -> list[SeenEvent]:
            seen = [event for event in self.events(jobs) if event.kind == EventKind.STARTED]
            return sorted(seen, key=lambda event: event.gpu or 0) if len(seen) >= count else []

        return self.wait_for(found, PATIENCE_SECONDS, f"{count} of {len(jobs)} jobs have started")

    def events(self, jobs: Iterable[int] | None = None) -> list[SeenEvent]:
        found: list[SeenEvent] = []
        for some in batched(self.jobs if jobs is None else jobs, BATCH):
            found += map(_seen, JobEvent.objects.filter(job_id__in=some).order_by("id"))
        return found

    def rows(self) -> dict[int, JobRow]:
        found: dict[int, JobRow] = {}
        for some in batched(self.jobs, BATCH):
            for job in Job.objects.filter(id__in=some).only("state", "attempt", "failures", "reason"):
                found[job.id] = JobRow(
                    id=job.id, state=job.state, attempt=job.attempt, failures=job.failures, reason=job.reason
                )
        return found

    def all_ended(self) -> bool:
        left = 0
        for some in batched(self.jobs, BATCH):
            left += Job.objects.filter(id__in=some).exclude(state__in=TERMINAL_STATES).count()
        return left == 0

    def cancel_what_is_left(self) -> None:
        """A scenario that failed must leave no job to the next one."""
        for some in batched(self.jobs, BATCH):
            rows = Job.objects.filter(id__in=some).exclude(state__in=TERMINAL_STATES)
            for job in list(rows.values_list("id", flat=True)):
                lifecycle.cancel(job, actor=ACTOR)

    # --- what most scenarios wait for

    def see_requeued(self, start: SeenEvent, *, patience_seconds: float) -> SeenEvent:
        """Waits until the attempt is requeued (detected) and the next one starts (recovered); returns the new start."""
        requeued = self.event(start.job, EventKind.REQUEUED, attempt=start.attempt, seconds=patience_seconds)
        self.detected(requeued.at)
        self.facts["reason"] = requeued.reason
        again = self.event(start.job, EventKind.STARTED, attempt=start.attempt + 1, seconds=patience_seconds)
        self.recovered(again.at)
        return again

    def see_jobs_flow(self, *, seconds: float = PATIENCE_SECONDS, hint: bool = True) -> None:
        """Waits until a job that is submitted now starts: recovered."""
        (job,) = self.sleeps(0, hint=hint, priority=Priority.CRITICAL)
        self.expect([job])
        self.recovered(self.event(job, EventKind.STARTED, seconds=seconds).at)


def _seen(event: JobEvent) -> SeenEvent:
    return SeenEvent(
        job=event.job_id,
        kind=event.kind,
        at=event.at.timestamp(),
        attempt=event.attempt,
        gpu=event.gpu,
        reason=event.reason,
    )
