"""A fault for one GPU's worker: carried out from here if its process is on this machine, else by the worker itself,
which is asked through Redis: the processes of another container cannot be hit from outside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from gpu_tasks.faults.injection import HANG_SECONDS, NothingToHit, Victim, carry_out, record, resume
from gpu_tasks.processes import cluster_pids
from gpu_tasks.processes.cluster_pids import OutOfReach
from scheduler.logs import event_logger
from scheduler.loops.heartbeats import read_beats
from scheduler.redis_client import KEY_PREFIX
from scheduler.rules.faults import FaultKind
from scheduler.rules.moments import SLACK_SECONDS

log = event_logger(__name__)

#: A request older than this is dropped: a worker that was restarted meanwhile is not hit in place of the one before it.
REQUEST_SECONDS: Final = 4.0
#: How often a worker looks for requests.
FAULTS_PERIOD_SECONDS: Final = 0.5


class BrokerUnreachable(OutOfReach):
    """Nobody knows now whether the GPU has a worker."""


def requests_key(gpu: int) -> str:
    """A list of requests as JSON, oldest first."""
    return f"{KEY_PREFIX}fault-requests:{gpu}"


def inject(kind: FaultKind, gpu: int, client: Redis, *, actor: str, hang_seconds: float = HANG_SECONDS) -> Victim:
    """Hits the worker of this GPU now, or within half a second if it has to be asked. Returns the processes it hits.

    OutOfReach if there is no worker, NothingToHit if it has no job process to hit.
    """
    victim = find_victim(gpu, client)
    if victim.child_pid is None and kind is not FaultKind.WORKER_KILLED and kind is not FaultKind.WORKER_HUNG:
        raise NothingToHit(f"GPU {gpu}: its worker has no job process now")
    record(kind, gpu, actor=actor)
    log.warning("fault_injected", kind=kind, gpu=gpu, actor=actor)
    if is_on_this_machine(victim, gpu):
        carry_out(kind, victim, hang_seconds=hang_seconds)
    else:
        _ask(kind, gpu, client, hang_seconds)
    return victim


def find_victim(gpu: int, client: Redis) -> Victim:
    """By the worker's last heartbeat. OutOfReach if that is too old, BrokerUnreachable."""
    try:
        beat, now = read_beats(client).get(gpu), redis_now(client)
    except (RedisError, OSError) as error:
        raise BrokerUnreachable(f"GPU {gpu}: the broker is unreachable: {error}") from None
    if beat is None or not beat.is_recent(now):
        raise OutOfReach(f"GPU {gpu}: no worker sends heartbeats")
    child = beat.child_pid
    with suppress(OutOfReach):
        if cluster_pids.pid_of(f"gpu-{gpu}") == beat.pid and cluster_pids.parent_of(child or 0) != beat.pid:
            child = None  # it has died since; the next beat names its successor
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
    """Ends a hang early if the process is on this machine; elsewhere the hang ends by itself."""
    if is_on_this_machine(victim, gpu):
        with suppress(ProcessLookupError):
            resume(victim)


def _ask(kind: FaultKind, gpu: int, client: Redis, hang_seconds: float) -> None:
    request = {"kind": kind, "hang_seconds": hang_seconds, "until": redis_now(client) + REQUEST_SECONDS}
    pipe = client.pipeline(transaction=False)
    pipe.rpush(requests_key(gpu), json.dumps(request))
    pipe.expire(requests_key(gpu), 60)
    pipe.execute()


@dataclass(slots=True, kw_only=True)
class RequestedFaults:
    """Carries out what was requested of this GPU's worker: in that worker, in a thread of its own, which an
    unavailable broker may hold up without harm to the heartbeat."""

    gpu: int
    #: The job process, if there is one.
    child_pid: Callable[[], int | None]
    redis: Redis

    def tick(self, now: float) -> bool:
        """Returns whether the broker answered."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.time()
        pipe.lpop(requests_key(self.gpu))
        try:
            (seconds, micros), request = pipe.execute()
        except (RedisError, OSError) as error:
            # The heartbeat logs that the broker is unavailable.
            log.debug("fault_requests_not_read", gpu=self.gpu, error=error)
            return False
        if request is not None:
            obey(request, gpu=self.gpu, child_pid=self.child_pid(), now=seconds + micros / 1e6)
        return True


def obey(request: bytes, *, gpu: int, child_pid: int | None, now: float) -> None:
    """In the worker that was asked. `now`: by the broker's clock."""
    try:
        values = json.loads(request)
        kind, until, hang_seconds = FaultKind(values["kind"]), float(values["until"]), float(values["hang_seconds"])
    except (ValueError, TypeError, KeyError) as error:
        log.warning("fault_request_dropped", gpu=gpu, reason=f"malformed: {type(error).__name__}: {error}")
        return
    if not until - REQUEST_SECONDS - SLACK_SECONDS <= now <= until:
        # Or the clock was set back since: then its age is unknown.
        log.warning("fault_request_dropped", gpu=gpu, kind=kind, reason="too late")
        return
    log.warning("fault_requested", gpu=gpu, kind=kind)
    try:
        carry_out(kind, Victim(worker_pid=os.getpid(), child_pid=child_pid), hang_seconds=hang_seconds)
    except (NothingToHit, OSError) as error:
        log.warning("fault_not_carried_out", gpu=gpu, kind=kind, error=error)
