"""Jobs that are submitted while a part is unavailable."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPException
from typing import Final

from django.db import connection

from cluster_dashboard.chaos import web
from cluster_dashboard.chaos.stage import PATIENCE_SECONDS, Stage
from cluster_dashboard.chaos.web import Answer
from scheduler.database_errors import DatabaseFailure, is_unavailable
from scheduler.jobs.room import NoRoom
from scheduler.models import Job

EVERY_SECONDS: Final = 1.0
#: Requests that may wait for an answer at the same time.
AT_ONCE: Final = 64

#: By the job's name.
type Answers = dict[str, Future[Answer]]


def submit_for(stage: Stage, seconds: float, *, may_be_refused: bool = False) -> Callable[[], float]:
    """Submits a job each second for `seconds`, through the API where it is on this machine.

    Returns a function that waits for the answers, which may come much later, and returns the seconds of the slowest.
    Every job that the API accepted must run; a refusal must be a 503 with the time after which to try again.
    """
    deadline = time.monotonic() + seconds
    if not stage.has_web:
        slowest = _submit_without_api_until(stage, deadline)
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
    accepted: list[str] = []
    slowest, refused, unanswered = 0.0, 0, 0
    for name, coming in answers.items():
        try:
            answer = coming.result()
        except (OSError, HTTPException) as error:
            unanswered += 1
            stage.facts["unanswered"] = f"{unanswered} times, {type(error).__name__}"
            continue
        slowest = max(slowest, answer.seconds)
        if answer.status == HTTPStatus.ACCEPTED:
            accepted.append(name)
        elif answer.status == HTTPStatus.SERVICE_UNAVAILABLE and answer.retry_after is not None and may_be_refused:
            refused += 1
        else:
            stage.problems.append(f"a submit was answered with {answer.status} {answer.body!r:.200}")
    stage.facts |= {"submitted": len(accepted), "slowest_submit_seconds": round(slowest, 3)}
    if refused:
        stage.facts["refused_for_now"] = refused
    _adopt(stage, accepted)
    return slowest


def _adopt(stage: Stage, names: list[str]) -> None:
    """Adds the accepted jobs to the scenario's: they must end like the others. One that is missing is lost."""

    def found() -> list[int]:
        ids = list(Job.objects.filter(name__in=names).values_list("id", flat=True))
        return ids if len(ids) == len(names) else []

    if names:
        ids = stage.wait_for(found, PATIENCE_SECONDS, f"all {len(names)} accepted jobs are in the database")
        stage.jobs += ids
        stage.expect(ids)


def _submit_without_api_until(stage: Stage, deadline: float) -> float:
    slowest = 0.0
    while (left := deadline - time.monotonic()) > 0:
        started = time.monotonic()
        try:
            stage.expect(stage.sleeps(0))
        except (DatabaseFailure, NoRoom) as error:
            if isinstance(error, DatabaseFailure) and not is_unavailable(error):
                raise
            connection.close()
            stage.facts["refused_for_now"] = str(error)
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(min(EVERY_SECONDS, left))
    stage.facts |= {"submitted_without": "the API", "slowest_submit_seconds": round(slowest, 3)}
    return slowest
