"""Jobs that people submit while something is away."""

from __future__ import annotations

import time
from http.client import HTTPException
from typing import Final

from gpu_tasks.chaos import web
from gpu_tasks.chaos.stage import PATIENCE_SECONDS, Stage
from scheduler.models import Job

EVERY_SECONDS: Final = 0.5

#: What the API says when a job is in, and when it cannot be taken now.
ACCEPTED: Final = 202
AWAY: Final = 503


def submit_for(stage: Stage, seconds: float, *, may_be_refused: bool = False) -> float:
    """A job every half a second for so long, through the API where it is on this machine. Gives the slowest answer
    in seconds.

    Every job that the API took must run; one that it refused was told so, with a time to come back.
    """
    deadline = time.monotonic() + seconds
    if not stage.has_web:
        return _submit_ourselves_until(stage, deadline)
    names: list[str] = []
    slowest, refused, unanswered = 0.0, 0, 0
    while (left := deadline - time.monotonic()) > 0:
        name = stage.next_name()
        try:
            answer = web.post_jobs({"type": "sleep", "params": {"seconds": 0}, "priority": "high", "name": name})
        except (OSError, HTTPException) as error:
            unanswered += 1
            stage.facts["unanswered"] = f"{unanswered} times, {type(error).__name__}"
        else:
            slowest = max(slowest, answer.seconds)
            refused += answer.status == AWAY
            if answer.status == ACCEPTED:
                names.append(name)
            elif answer.status != AWAY or answer.retry_after is None or not may_be_refused:
                stage.problems.append(f"submitting was answered with {answer.status} {answer.body!r:.200}")
                break
        time.sleep(min(EVERY_SECONDS, max(0.0, left)))
    stage.facts |= {"submitted": len(names), "slowest_submit_seconds": round(slowest, 3)}
    if refused:
        stage.facts["refused_for_now"] = refused
    _adopt(stage, names)
    return slowest


def _adopt(stage: Stage, names: list[str]) -> None:
    """Ours from now on: they have to end like the others. What the API took and is not there is lost."""

    def found() -> list[int]:
        ids = list(Job.objects.filter(name__in=names).values_list("id", flat=True))
        return ids if len(ids) == len(names) else []

    if names:
        ids = stage.wait_for(found, PATIENCE_SECONDS, f"all of {len(names)} jobs that the API took are there")
        stage.jobs += ids
        stage.expect(ids)


def _submit_ourselves_until(stage: Stage, deadline: float) -> float:
    slowest = 0.0
    while (left := deadline - time.monotonic()) > 0:
        started = time.monotonic()
        stage.expect(stage.sleeps(0))
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(min(EVERY_SECONDS, left))
    stage.facts |= {"submitted_without": "the API", "slowest_submit_seconds": round(slowest, 3)}
    return slowest
