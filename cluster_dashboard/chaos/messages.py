"""Messages and parameters that this cluster never makes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.chaos import web
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.scorecard import Promise
from cluster_dashboard.chaos.stage import ACTOR, Stage
from scheduler.broker import dead_letters
from scheduler.broker.dead_letters import dead_letter_count_key
from scheduler.broker.hints import queue_key, task_name
from scheduler.celery import CONTROL_QUEUE
from scheduler.database_errors import DatabaseFailure
from scheduler.job_type import ParamsInvalid
from scheduler.loops.heartbeats import read_beats
from scheduler.models import Tally
from scheduler.rules.queues import PLAIN_QUEUES
from scheduler.rules.states import EventKind

#: Promised: valid jobs run within this time.
GOOD_JOBS_SECONDS: Final = 5.0


def malformed_messages(stage: Stage) -> None:
    boots = {gpu: beat.boot for gpu, beat in read_beats(stage.redis).items()}
    letters = _letters(stage.redis)
    sent = [
        (queue, message)
        for queue in (*PLAIN_QUEUES, CONTROL_QUEUE)
        for message in stage.rng.sample(MALFORMED, len(MALFORMED))
    ]
    stage.healing.callback(lambda: _drop(stage, sent, letters))
    stage.injected()
    pipe = stage.redis.pipeline(transaction=False)
    for queue, message in sent:
        pipe.lpush(queue_key(queue), message)
    pipe.execute()
    good = stage.sleeps(0.1, count=2 * len(stage.gpus))
    stage.expect(good, attempt=1)
    stage.recovered(max(stage.event(job, EventKind.SUCCEEDED).at for job in good))
    stage.wait_for(lambda: _letters(stage.redis) - letters >= len(sent), 30, f"{len(sent)} messages are dead letters")
    stage.detected()
    stage.facts["dead_letters"] = _letters(stage.redis) - letters
    changed = [gpu for gpu, beat in read_beats(stage.redis).items() if boots.get(gpu, beat.boot) != beat.boot]
    if changed:
        stage.problems.append(f"a malformed message ended the worker of GPU {', '.join(map(str, changed))}")


def _drop(stage: Stage, sent: Sequence[tuple[str, bytes]], letters_before: int) -> None:
    """Removes the dead letters that the scenario caused, and no others."""
    try:
        newest = _letters(stage.redis) - letters_before
        stage.facts["dead_letters_dropped"] = dead_letters.drop_sent(stage.redis, sent, newest=newest, actor=ACTOR)
    except (DatabaseFailure, RedisError) as error:
        stage.problems.append(f"its dead letters remain: {type(error).__name__}: {error}")


def _letters(client: Redis) -> int:
    return int(client.get(dead_letter_count_key()) or 0)


def _hint(**changes: Any) -> bytes:
    message: dict[str, Any] = {
        "body": "W1tdLCB7fSwge31d",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": task_name("sleep"), "id": "999999999-1"},
        "properties": {"delivery_tag": "x", "body_encoding": "base64", "delivery_info": {}},
    }
    return json.dumps(message | changes).encode()


#: Not JSON, binary, pickle, huge, and a wrong type at every level.
MALFORMED: Final[tuple[bytes, ...]] = (
    b"",
    b"\x00\xff\xfe binary \x80",
    b"not json",
    b'{"half": ',
    b"null",
    b"7",
    b'"text"',
    b"[]",
    b"{}",
    b"[" * 5_000,
    pickle.dumps({"task": "sleep"}),
    b"x" * 2_000_000,
    _hint(padding="x" * 100_000),
    _hint(headers=None),
    _hint(headers=[]),
    _hint(headers="text"),
    _hint(headers={}),
    _hint(headers={"task": None, "id": "1-1"}),
    _hint(headers={"task": 7, "id": "1-1"}),
    _hint(headers={"task": ["gpu_tasks.sleep"], "id": "1-1"}),
    _hint(headers={"task": "os.system", "id": "1-1"}),
    _hint(headers={"task": "celery.chord", "id": "1-1"}),
    _hint(headers={"task": task_name("sleep")}),
    _hint(headers={"task": task_name("sleep"), "id": None}),
    _hint(headers={"task": task_name("sleep"), "id": 7}),
    _hint(headers={"task": task_name("sleep"), "id": "no-hint"}),
    _hint(headers={"task": task_name("sleep"), "id": "1-1; DROP TABLE scheduler_job"}),
    _hint(headers={"task": task_name("sleep"), "id": "9" * 400 + "-1"}),
)


def odd_parameters(stage: Stage) -> None:
    """Each is refused with a reason, and nothing of it is kept."""
    before = Tally.objects.total(EventKind.SUBMITTED)
    mine = 0
    stage.injected()
    for words, params in ODD_PARAMETERS.items():
        try:
            stage.submit("sleep", **params)
        except ParamsInvalid:
            continue
        mine += 1
        stage.problems.append(f"a job with {words} was accepted")
    stage.detected()
    for words, body in ODD_BODIES.items() if stage.has_web else ():
        try:
            answer = web.post_jobs(body)
        except (OSError, HTTPException) as error:
            # A server may close the connection instead of reading the whole body.
            stage.facts[words] = type(error).__name__
            continue
        stage.facts[words] = answer.status
        if not 400 <= answer.status < 500:
            stage.problems.append(f"{words}: the API answered {answer.status}, not 4xx")
    kept = Tally.objects.total(EventKind.SUBMITTED) - before - mine
    stage.facts["submitted_by_others"] = kept
    stage.see_jobs_flow()


ODD_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "a set": {"seconds": {1, 2}},
    "an object": {"seconds": object()},
    "bytes": {"seconds": b"\xff"},
    "not a number": {"seconds": float("nan")},
    "an infinite number": {"seconds": float("inf")},
    "a negative number": {"seconds": -1},
    "a function": {"seconds": len},
    "a text of 5 MB": {"seconds": "9" * 5_000_000},
    "an unknown field of 5 MB": {"seconds": 0, "note": "x" * 5_000_000},
    "100,000 fields": {f"field_{i}": i for i in range(100_000)},
}

_DEEP: Final = 20_000

ODD_BODIES: Final[dict[str, bytes]] = {
    "a body of 20 MB": b'{"type": "sleep", "params": {"note": "' + b"x" * 20_000_000 + b'"}}',
    "a body nested deeply": b'{"type": "sleep", "params": ' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}",
    "a body that is not JSON": b'{"type": "sleep", "params": {"seconds": NaN',
    "a body of other types": b'{"type": ["sleep"], "params": 7, "count": "many", "priority": null}',
    "a body of bytes": b"\xff\xfe\x00",
}

SCENARIOS: Final = (
    Scenario(
        name="malformed_messages",
        summary=f"{len(MALFORMED)} kinds of malformed messages in every queue",
        play=malformed_messages,
        promise=Promise(recovered_seconds=GOOD_JOBS_SECONDS),
    ),
    Scenario(
        name="odd_parameters",
        summary="job parameters that cannot be serialised, and huge ones",
        play=odd_parameters,
        promise=Promise(recovered_seconds=GOOD_JOBS_SECONDS),
    ),
)
