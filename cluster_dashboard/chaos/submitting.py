"""Jobs that people submit while something is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from typing import Final

from django.db import DatabaseError, connection

from cluster_dashboard.chaos import web
from cluster_dashboard.chaos.stage import PATIENCE_SECONDS, Stage
from cluster_dashboard.chaos.web import Answer
from scheduler.jobs.room import NoRoom
from scheduler.models import Job

EVERY_SECONDS: Final = 1.0
#: Who submits does not wait for the answer that somebody else waits for.
AT_ONCE: Final = 64

#: What the API says when a job is in, and when it cannot be taken now.
ACCEPTED: Final = 202
AWAY: Final = 503

#: By the job's name.
type Answers = dict[str, Future[Answer]]


def submit_for(stage: Stage, seconds: float, *, may_be_refused: bool = False) -> Callable[[], float]:
    """A job every second for so long, through the API where it is on this machine. What it gives waits for the
    answers, which may come much later, and gives the slowest one in seconds.

    Every job that the API took must run; one that it refused was told so, with a time to come back.
    """
    deadline = time.monotonic() + seconds
    if not stage.has_web:
        slowest = _submit_ourselves_until(stage, deadline)
        return lambda: slowest
    answers: Answers = {}
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="submit")
    while (left := deadline - time.monotonic()) > 0:
        name = stage.next_name()
        body = {"type": "sleep", "params": {"seconds": 0}, "priority": "high", "name": name}
        answers[name] = pool.submit(web.post_jobs, body)
        time.sleep(min(EVERY_SECONDS, left))

    def collect() -> float:
        pool.shutdown()
        return _judge(stage, answers, may_be_refused=may_be_refused)

    return collect


def _judge(stage: Stage, answers: Answers, *, may_be_refused: bool) -> float:
    taken: list[str] = []
    slowest, refused, unanswered = 0.0, 0, 0
    for name, coming in answers.items():
        try:
            answer = coming.result()
        except (OSError, HTTPException) as error:
            unanswered += 1
            stage.facts["unanswered"] = f"{unanswered} times, {type(error).__name__}"
            continue
        slowest = max(slowest, answer.seconds)
        if answer.status == ACCEPTED:
            taken.append(name)
        elif answer.status == AWAY and answer.retry_after is not None and may_be_refused:
            refused += 1
        else:
            stage.problems.append(f"submitting was answered with {answer.status} {answer.body!r:.200}")
    stage.facts |= {"submitted": len(taken), "slowest_submit_seconds": round(slowest, 3)}
    if refused:
        stage.facts["refused_for_now"] = refused
    _adopt(stage, taken)
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
        try:
            stage.expect(stage.sleeps(0))
        except (DatabaseError, NoRoom) as error:
            connection.close()
            stage.facts["refused_for_now"] = str(error)
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(min(EVERY_SECONDS, left))
    stage.facts |= {"submitted_without": "the API", "slowest_submit_seconds": round(slowest, 3)}
    return slowest
