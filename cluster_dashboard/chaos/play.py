"""Plays a scenario: load, injection, heal, wait until every job has ended and every part has recovered, verdict,
scorecard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Final
from uuid import uuid4

from django.db import connection
from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.chaos import signs
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.scorecard import (
    Scorecard,
    missed_promises,
    outcome_of,
    unmet_expectations,
    wasted_gpu_seconds,
)
from cluster_dashboard.chaos.signs import Signs
from cluster_dashboard.chaos.stage import ACTOR, NAME_PREFIX, CannotPlay, DatabaseClock, NotSeen, Stage
from cluster_dashboard.operations.worker_folders import witness_folders
from gpu_tasks.faults.injection import NothingToHit
from gpu_tasks.processes.cluster_pids import OutOfReach
from scheduler.database_errors import DatabaseFailure
from scheduler.job_type import ParamsInvalid
from scheduler.jobs.room import NoRoom
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent, Job, Tally
from scheduler.redis_client import connect
from scheduler.rules.states import EventKind, JobState
from scheduler.verdict.findings import VerdictOutcome
from scheduler.verdict.judge import judge

log = event_logger(__name__)

#: After the heal, the time in which jobs must end and parts must recover: longer than every promise.
SETTLE_SECONDS: Final = 90.0
START_SECONDS: Final = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """One run of the command: what was healthy when it began, and the seed of its random choices."""

    seed: int
    redis: Redis
    clock: DatabaseClock
    before: Signs
    token: str = field(default_factory=lambda: uuid4().hex[:8])

    @staticmethod
    def begin(seed: int) -> Rehearsal:
        """Waits for a cluster that has just been started: a worker's first heartbeats name no job process yet."""
        client = connect()
        deadline = time.monotonic() + START_SECONDS
        while not (before := signs.look(client)).all_start_jobs and time.monotonic() < deadline:
            time.sleep(0.2)
        return Rehearsal(seed=seed, redis=client, clock=DatabaseClock.set(), before=before)

    def play(self, scenario: Scenario, played: int = 0) -> Scorecard:
        """`played`: the number of times that it was played before in this run. The same seed makes the same choices."""
        started = time.monotonic()
        reasons: list[str] = []
        skipped = False
        with ExitStack() as healing:
            stage = Stage(
                name=scenario.name,
                token=f"{self.token}-{played}",
                rng=Random(f"chaos:{self.seed}:{scenario.name}:{played}"),
                redis=self.redis,
                clock=self.clock,
                gpus=self.before.gpus,
                has_web=self.before.web,
                healing=healing,
            )
            try:
                self._check_stage(scenario, stage)
                record("chaos_began", scenario)
                scenario.play(stage)
            except (CannotPlay, OutOfReach) as reason:
                skipped, reasons = True, [str(reason)]
            except (NotSeen, NothingToHit, ParamsInvalid, NoRoom) as miss:
                reasons = [str(miss)]
            except (DatabaseFailure, RedisError, OSError) as error:
                reasons = [f"{type(error).__name__}: {error}"]
            except KeyboardInterrupt:
                healing.close()
                stage.cancel_what_is_left()
                raise
        reasons += stage.problems
        try:
            reasons += self._settle(stage)
        except KeyboardInterrupt:
            stage.cancel_what_is_left()
            raise
        if not skipped:
            record("chaos_ended", scenario)
            reasons += missed_promises(scenario.promise, stage.moments)
        reasons += _unmet_expectations(stage) + _verdict(stage.jobs)
        return Scorecard(
            scenario=scenario.name,
            seed=self.seed,
            round=played,
            outcome=outcome_of(reasons, skipped=skipped and len(reasons) == 1),
            reasons=tuple(reasons),
            detected_seconds=stage.moments.detected_seconds(),
            recovered_seconds=stage.moments.recovered_seconds(scenario.promise.since),
            promise=scenario.promise,
            wasted_gpu_seconds=wasted_gpu_seconds(stage.events()),
            jobs=len(stage.jobs),
            took_seconds=time.monotonic() - started,
            facts=stage.facts,
        )

    def _check_stage(self, scenario: Scenario, stage: Stage) -> None:
        if len(stage.gpus) < scenario.gpus:
            raise CannotPlay(f"needs {scenario.gpus} GPUs whose workers start jobs; there are {len(stage.gpus)}")

    def _settle(self, stage: Stage) -> list[str]:
        """Waits until every job has ended and every part has recovered. Returns in words what has not."""
        found = []
        try:
            stage.wait_for(stage.all_ended, SETTLE_SECONDS, "every job of the scenario has ended")
        except NotSeen as missed:
            found.append(str(missed))
            stage.cancel_what_is_left()
        missing: list[str] = []

        def has_recovered() -> bool:
            missing[:] = ["broker or database"]
            missing[:] = signs.look(self.redis).missing(self.before)
            return not missing

        try:
            stage.wait_for(has_recovered, SETTLE_SECONDS, "every part has recovered")
        except NotSeen as missed:
            found.append(f"{missed} ({', '.join(missing)})")
        return found


def record(kind: str, scenario: Scenario) -> None:
    """For people, and for the verdict: what dies meanwhile was told to. An unavailable database stops no scenario."""
    word = "begins" if kind == "chaos_began" else "has ended"
    try:
        ClusterEvent.objects.create(kind=kind, actor=ACTOR, message=f"chaos scenario {scenario.name} {word}")
    except DatabaseFailure as error:
        connection.close()
        log.warning("event_not_recorded", kind=kind, scenario=scenario.name, error=error)


def _unmet_expectations(stage: Stage) -> list[str]:
    rows = stage.rows()
    return [words for expectation in stage.expectations for words in unmet_expectations(expectation, rows)]


def _verdict(jobs: Sequence[int]) -> list[str]:
    """Broken rules of the contract, for every job since the scenario's first one."""
    if not jobs:
        return []
    verdict = judge(*witness_folders(), first_job=min(jobs))
    if verdict.outcome is VerdictOutcome.HOLDS:
        return []
    if verdict.outcome is VerdictOutcome.CANNOT_TELL:
        return [f"the verdict: cannot tell: {verdict.gaps[0]}"]
    return [f"the verdict: {breach.rule}: job {breach.job} {breach.words}" for breach in verdict.breaches[:3]]


def others_jobs() -> int:
    """The number of queued or running jobs that no scenario submitted."""
    left = Job.objects.filter(state__in=(JobState.QUEUED, JobState.RUNNING))
    return left.exclude(name__startswith=NAME_PREFIX).count()


def counts_that_do_not_add_up() -> list[str]:
    """submitted = queued + running + succeeded + failed + cancelled, since the cluster's first start."""
    connection.close()  # it may be broken: the database may have been unavailable
    states = sum(Tally.objects.total(state) for state in JobState)
    submitted = Tally.objects.total(EventKind.SUBMITTED)
    return [] if states == submitted else [f"{submitted} jobs were submitted, but the states count {states}"]
