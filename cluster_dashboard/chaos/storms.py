"""Too much of what is allowed: a burst of jobs, cancels at the worst moment, a second beat."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from typing import Final

from django.conf import settings
from django.db import transaction

from cluster_dashboard.chaos import signs
from cluster_dashboard.chaos.deaths import RECOVERY_PATIENCE_SECONDS
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.scorecard import Promise
from cluster_dashboard.chaos.stage import ACTOR, CannotPlay, NotSeen, Stage
from scheduler.jobs import lifecycle
from scheduler.jobs.controls import change_control
from scheduler.jobs.lifecycle import CancelOutcome
from scheduler.jobs.room import NoRoom
from scheduler.models import Control, Job
from scheduler.rules.faults import FaultKind
from scheduler.rules.states import EventKind, JobState, Priority, Source

BURST_JOBS: Final = 10_000
#: 10,000 jobs without work take about 15 s on two idle cores.
BURST_SECONDS: Final = 600.0

#: Promised: a cancelled job is killed within this time. Its worker looks once a second.
CANCEL_SECONDS: Final = 4.0

TWO_BEATS_SECONDS: Final = 5.0
TWO_BEATS_RATE: Final = 240.0


def burst(stage: Stage) -> None:
    stage.injected()
    started = time.monotonic()
    try:
        jobs = stage.sleeps(0, count=BURST_JOBS, priority=Priority.NORMAL)
    except NoRoom as refused:
        raise CannotPlay(str(refused)) from None
    stage.facts["submit_seconds"] = round(time.monotonic() - started, 1)
    stage.expect(jobs, attempt=1)
    # An urgent job does not wait for all of them.
    stage.see_jobs_flow()
    largest = 0

    def ended() -> bool:
        nonlocal largest
        largest = max(largest, int(stage.redis.info("memory")["used_memory"]))
        time.sleep(0.5)  # the queries must not become the load
        return stage.all_ended()

    stage.wait_for(ended, BURST_SECONDS, f"{BURST_JOBS} jobs have ended")
    stage.facts |= {
        "jobs_per_second": round(BURST_JOBS / (time.monotonic() - started)),
        "broker_mib_at_most": round(largest / 2**20, 1),
    }


# --- cancels --------------------------------------------------------------------------------------

#: Seconds after the submit: around the claim, in the middle, around the end of a job of half a second.
CANCEL_MOMENTS: Final = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 0.45, 0.5, 0.52, 0.55, 0.6)
RACES_EACH: Final = 2
RACE_JOB_SECONDS: Final = 0.5


def cancel_races(stage: Stage) -> None:
    """Exactly one of cancel and end wins each time; the verdict checks that the log has only one of them."""
    stage.injected()
    outcomes: Counter[str] = Counter()
    for after in stage.rng.sample(CANCEL_MOMENTS * RACES_EACH, len(CANCEL_MOMENTS) * RACES_EACH):
        (job,) = stage.sleeps(RACE_JOB_SECONDS)
        stage.expect([job], JobState.CANCELLED, JobState.SUCCEEDED)
        time.sleep(after * stage.rng.uniform(0.9, 1.1))
        outcome = lifecycle.cancel(job, actor=ACTOR)
        again = lifecycle.cancel(job, actor=ACTOR)  # a second click changes nothing
        outcomes[outcome] += 1
        if outcome is CancelOutcome.CANCELLED and again is not CancelOutcome.ALREADY_ENDED:
            stage.problems.append(f"job {job} was cancelled, and then cancelled again")
    stage.facts |= dict(outcomes)
    _cancel_a_running_job(stage)
    _cancel_a_job_whose_process_dies(stage)


def _cancel_a_running_job(stage: Stage) -> None:
    (job,) = stage.sleeps(60)
    stage.expect([job], JobState.CANCELLED, attempt=1)
    stage.event(job, EventKind.STARTED)
    stage.injected()
    lifecycle.cancel(job, actor=ACTOR)
    stage.detected(stage.event(job, EventKind.CANCELLED, seconds=RECOVERY_PATIENCE_SECONDS).at)


def _cancel_a_job_whose_process_dies(stage: Stage) -> None:
    """It must not run again."""
    (job,) = stage.sleeps(60)
    stage.expect([job], JobState.CANCELLED)
    start = stage.event(job, EventKind.STARTED)
    stage.moment()
    lifecycle.cancel(job, actor=ACTOR)
    stage.inject(FaultKind.CHILD_KILLED, start.gpu or 0)
    stage.wait_for(
        lambda: Job.objects.filter(id=job, state=JobState.CANCELLED).exists(),
        RECOVERY_PATIENCE_SECONDS,
        f"job {job}, whose process died, is cancelled",
    )
    stage.recovered()


# --- two beats ------------------------------------------------------------------------------------

#: With Celery's own scheduler class, which writes no file of the cluster.
_BEAT: Final = (
    "import django; django.setup(); from scheduler.celery import app;"
    "app.Beat(scheduler='celery.beat:Scheduler', loglevel='WARNING', quiet=True).run()"
)


def two_beats(stage: Stage) -> None:
    """Twice the ticks, but no more jobs than the generator's position has advanced."""
    with signs.listening(stage.redis) as ticks:
        _start_generator(stage)
        stage.injected()
        second = subprocess.Popen(
            [sys.executable, "-c", _BEAT], cwd=settings.BASE_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stage.healing.callback(second.wait)
        stage.healing.callback(second.kill)
        stage.wait_for(lambda: _seconds_of(ticks) > 1.5, RECOVERY_PATIENCE_SECONDS, "every tick arrives twice")
        stage.detected()
        before, newest = _generator_position()
        watched_from, heard = time.monotonic(), 0
        while time.monotonic() < watched_from + TWO_BEATS_SECONDS:
            time.sleep(0.2)
            heard += ticks.heard()
        change_control(actor=ACTOR, paused=True)
        after, _ = _generator_position()
        stage.facts["ticks_per_second"] = round(heard / (time.monotonic() - watched_from), 1)
    _compare(stage, drawn=after.arrivals - before.arrivals, newest=newest)


def _start_generator(stage: Stage) -> None:
    """Restores its settings at the end, and cancels the jobs that it generated meanwhile."""
    control, newest = _generator_position()
    stage.healing.callback(_cancel_generated, stage, newest)
    rate, paused = control.rate_per_minute, control.paused
    stage.healing.callback(lambda: change_control(actor=ACTOR, rate_per_minute=rate, paused=paused))
    change_control(actor=ACTOR, rate_per_minute=TWO_BEATS_RATE, paused=False)
    try:
        stage.wait_for(_draws_at_our_rate, RECOVERY_PATIENCE_SECONDS, "the generator has drawn an arrival")
    except NotSeen as missed:
        raise CannotPlay(f"{missed} (the generator replays a trace, or beat does not run)") from None


def _draws_at_our_rate() -> bool:
    control = Control.objects.get()
    return control.next_arrival_at is not None and control.next_arrival_rate == TWO_BEATS_RATE


def _seconds_of(ticks: signs.Ticks) -> float:
    """Ticks a second, over two of them."""
    ticks.heard()
    started = time.monotonic()
    time.sleep(2)
    return ticks.heard() / (time.monotonic() - started)


def _generator_position() -> tuple[Control, int]:
    """The generator's position and the newest job, at one moment."""
    with transaction.atomic():
        control = Control.objects.select_for_update().get()
        return control, Job.objects.order_by("-id").values_list("id", flat=True).first() or 0


def _compare(stage: Stage, *, drawn: int, newest: int) -> None:
    """Arrivals are numbered: each number drawn must have made one job, not two."""
    made = Job.objects.filter(id__gt=newest, source=Source.GENERATOR).count()
    stage.facts |= {"generated": made, "drawn": drawn}
    if made != drawn or not made:
        stage.problems.append(f"two beats made {made} jobs from {drawn} arrivals")


def _cancel_generated(stage: Stage, newest: int) -> None:
    jobs = list(Job.objects.filter(id__gt=newest, source=Source.GENERATOR).values_list("id", flat=True))
    stage.jobs += jobs
    for job in jobs:
        lifecycle.cancel(job, actor=ACTOR)


SCENARIOS: Final = (
    Scenario(
        name="two_beats",
        summary="a second beat sends every tick twice",
        play=two_beats,
    ),
    Scenario(
        name="cancel_races",
        summary="cancels at each boundary of a job's states",
        play=cancel_races,
        promise=Promise(detected_seconds=CANCEL_SECONDS),
    ),
    Scenario(
        name="burst",
        summary=f"{BURST_JOBS:,} jobs at once",
        play=burst,
        promise=Promise(recovered_seconds=10),
    ),
)
