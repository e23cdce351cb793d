"""A fault for one GPU's worker: carried out from here where its process is on this machine, else by the worker
itself, asked through Redis: another container's processes cannot be hit from outside it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from gpu_tasks.faults.injection import HANG_SECONDS, NothingToHit, Victim, carry_out, record, resume
from gpu_tasks.processes import cluster_pids
from gpu_tasks.processes.cluster_pids import OutOfReach
from scheduler.logs import event_logger
from scheduler.loops.heartbeats import SILENCE_SECONDS, read_beats
from scheduler.redis_client import KEY_PREFIX
from scheduler.rules.faults import FaultKind

log = event_logger(__name__)

#: A request older than this is dropped: whoever started anew meanwhile is not hit for what its predecessor was to get.
REQUEST_SECONDS: Final = 4.0


def requests_key(gpu: int) -> str:
    """A list of requests as JSON, oldest first."""
    return f"{KEY_PREFIX}fault-requests:{gpu}"


def inject(kind: FaultKind, gpu: int, client: Redis, *, actor: str, hang_seconds: float = HANG_SECONDS) -> Victim:
    """Hits the worker of this GPU now, or within half a second where it has to be asked. Gives whom it hits.

    OutOfReach if no worker is there, NothingToHit if it has no child to hit.
    """
    victim = find_victim(gpu, client)
    if victim.child_pid is None and kind is not FaultKind.WORKER_KILLED and kind is not FaultKind.WORKER_HUNG:
        raise NothingToHit(f"GPU {gpu}: its worker has no child now")
    record(kind, gpu, actor=actor)
    log.warning("fault_injected", kind=kind, gpu=gpu, actor=actor)
    if is_on_this_machine(victim, gpu):
        carry_out(kind, victim, hang_seconds=hang_seconds)
    else:
        _ask(kind, gpu, client, hang_seconds)
    return victim


def find_victim(gpu: int, client: Redis) -> Victim:
    """By the worker's last heartbeat. OutOfReach if it does not beat, or Redis does not answer."""
    try:
        beat, now = read_beats(client).get(gpu), redis_now(client)
    except (RedisError, OSError) as error:
        raise OutOfReach(f"GPU {gpu}: the broker does not answer: {error}") from None
    if beat is None or now - beat.at > SILENCE_SECONDS:
        raise OutOfReach(f"GPU {gpu}: no worker beats")
    child = beat.child_pid
    with suppress(OutOfReach):
        if cluster_pids.pid_of(f"gpu-{gpu}") == beat.pid and cluster_pids.parent_of(child or 0) != beat.pid:
            child = None  # it died since, and the next beat names its successor
    return Victim(worker_pid=beat.pid, child_pid=child)


def is_on_this_machine(victim: Victim, gpu: int) -> bool:
    try:
        return cluster_pids.pid_of(f"gpu-{gpu}") == victim.worker_pid
    except OutOfReach:
        return False


def redis_now(client: Redis) -> float:
    """Seconds since the epoch by the broker's clock."""
    seconds, micros = client.time()
    return float(seconds + micros / 1e6)


def wake(victim: Victim, gpu: int) -> None:
    """Ends a hang early, where the process is on this machine; elsewhere it ends by itself."""
    if is_on_this_machine(victim, gpu):
        with suppress(ProcessLookupError):
            resume(victim)


def _ask(kind: FaultKind, gpu: int, client: Redis, hang_seconds: float) -> None:
    request = {"kind": kind, "hang_seconds": hang_seconds, "until": redis_now(client) + REQUEST_SECONDS}
    pipe = client.pipeline(transaction=False)
    pipe.rpush(requests_key(gpu), json.dumps(request))
    pipe.expire(requests_key(gpu), 60)
    pipe.execute()


def obey(request: bytes, *, gpu: int, child_pid: int | None, now: float) -> None:
    """In the worker that was asked. `now`: by the broker's clock."""
    try:
        values = json.loads(request)
        kind, until, hang_seconds = FaultKind(values["kind"]), float(values["until"]), float(values["hang_seconds"])
    except (ValueError, TypeError, KeyError) as error:
        log.warning("fault_request_not_understood", gpu=gpu, error=f"{type(error).__name__}: {error}")
        return
    if now > until:
        log.warning("fault_request_too_late", gpu=gpu, kind=kind)
        return
    log.warning("fault_requested", gpu=gpu, kind=kind)
    try:
        carry_out(kind, Victim(worker_pid=os.getpid(), child_pid=child_pid), hang_seconds=hang_seconds)
    except (NothingToHit, OSError) as error:
        log.warning("fault_not_carried_out", gpu=gpu, kind=kind, error=error)
