"""A broker that is restarted, killed, frozen, full or emptied."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from cluster_dashboard.chaos.deaths import AFTER_HEAL, RECOVERY_PATIENCE_SECONDS, has_successor
from cluster_dashboard.chaos.scenario import BACK_SOON_SECONDS, Scenario
from cluster_dashboard.chaos.scorecard import Promise
from cluster_dashboard.chaos.stage import CannotPlay, Stage
from cluster_dashboard.chaos.submitting import submit_for
from gpu_tasks.faults.injection import Victim, carry_out, resume
from gpu_tasks.processes import cluster_pids
from scheduler.redis_client import KEY_PREFIX
from scheduler.rules.faults import FaultKind
from scheduler.rules.states import EventKind

BROKER: Final = "broker"
#: The promise is about a freeze of this length.
FREEZE_SECONDS: Final = 30.0
#: Longer than the silence after which a worker counts as dead.
BROKER_FULL_SECONDS: Final = 12.0


def restart_broker(stage: Stage) -> None:
    _end_broker(stage, signal.SIGTERM)


def kill_broker(stage: Stage) -> None:
    _end_broker(stage, signal.SIGKILL)


def _end_broker(stage: Stage, number: signal.Signals) -> None:
    cluster_pids.pid_of(BROKER)  # raises OutOfReach: before any job is submitted
    _load(stage)
    stage.injected()
    old_pid = cluster_pids.send(BROKER, number)
    stage.wait_for(lambda: has_successor(BROKER, old_pid), RECOVERY_PATIENCE_SECONDS, "the broker was started again")
    stage.detected()
    stage.see_jobs_flow()


def freeze_broker(stage: Stage) -> None:
    thaw = _freezer(stage)
    _load(stage, FREEZE_SECONDS)
    stage.healing.callback(thaw)
    stage.injected()
    _freeze(stage)
    stage.wait_for(lambda: not _answers(stage.redis), RECOVERY_PATIENCE_SECONDS, "the broker is unreachable")
    slowest = submit_for(stage, FREEZE_SECONDS)()
    if slowest >= 1.0:
        stage.problems.append(f"promised: a submit ends within 1 s; the slowest took {slowest:.1f} s")
    thaw()
    stage.healed()
    stage.see_jobs_flow()


def _freezer(stage: Stage) -> Callable[[], object]:
    """Returns the function that ends the freeze. CannotPlay: the broker can be neither suspended nor paused."""
    try:
        pid = cluster_pids.pid_of(BROKER)
    except cluster_pids.OutOfReach as reason:
        try:
            stage.redis.client_unpause()
        except (ResponseError, RedisError) as error:
            raise CannotPlay(f"{reason}, and the broker does not accept CLIENT PAUSE: {error}") from None
        return stage.redis.client_unpause

    def thaw() -> None:
        with suppress(ProcessLookupError):
            resume(Victim(worker_pid=pid, child_pid=None))

    return thaw


def _freeze(stage: Stage) -> None:
    """Ends by itself too, in case this process dies."""
    seconds = FREEZE_SECONDS + 10
    try:
        broker = Victim(worker_pid=cluster_pids.pid_of(BROKER), child_pid=None)
    except cluster_pids.OutOfReach:
        stage.facts["by"] = "CLIENT PAUSE"
        stage.redis.client_pause(int(seconds * 1000))
    else:
        carry_out(FaultKind.WORKER_HUNG, broker, hang_seconds=seconds)


def fill_broker(stage: Stage) -> None:
    try:
        before = str(stage.redis.config_get("maxmemory")["maxmemory"])
        stage.redis.config_set("maxmemory", before)
    except ResponseError as error:
        raise CannotPlay(f"the broker does not accept CONFIG SET: {error}") from None
    _load(stage, BROKER_FULL_SECONDS)

    def empty() -> None:
        stage.redis.config_set("maxmemory", before)

    stage.healing.callback(empty)
    stage.injected()
    stage.redis.config_set("maxmemory", "1")
    stage.wait_for(lambda: _refuses_writes(stage.redis), RECOVERY_PATIENCE_SECONDS, "the broker refuses writes")
    collect = submit_for(stage, BROKER_FULL_SECONDS, may_be_refused=True)
    empty()
    stage.healed()
    collect()
    stage.see_jobs_flow()


def empty_broker(stage: Stage) -> None:
    running = stage.sleeps(3.0, count=len(stage.gpus))
    stage.expect(running, attempt=1)
    stage.starts(running, len(stage.gpus))
    waiting = stage.sleeps(0.2, count=40)
    stage.expect(waiting, attempt=1)
    stage.moment(0.8, 1.5)  # their hints are in Redis after that
    stage.injected()
    removed = _empty(stage.redis)
    stage.facts["keys_removed"] = removed
    starts = [stage.event(job, EventKind.STARTED) for job in waiting]
    # Recovered when the last queued job runs.
    stage.recovered(max(start.at for start in starts))


def _empty(client: Redis) -> int:
    """An embedded broker belongs to this cluster alone; on another one only the cluster's keys are deleted."""
    if settings.BROKER_EMBEDDED:
        removed = int(client.dbsize())
        client.flushall()
        return removed
    return sum(int(client.delete(key)) for key in client.scan_iter(match=f"{KEY_PREFIX}*", count=1000))


def _load(stage: Stage, unavailable_seconds: float = 0.0) -> None:
    """Running and waiting jobs. No worker dies, so none may be requeued. One job runs for longer than the broker is
    unavailable, some end meanwhile."""
    running = stage.sleeps(unavailable_seconds + 4.0)
    running += stage.sleeps(4.0, count=len(stage.gpus) - 1) if len(stage.gpus) > 1 else []
    stage.expect(running, attempt=1)
    stage.starts(running, len(running))
    waiting = stage.sleeps(0.3, count=5 * len(stage.gpus))
    stage.expect(waiting, attempt=1)
    stage.moment()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


def _refuses_writes(client: Redis) -> bool:
    try:
        client.set(f"{KEY_PREFIX}chaos", time.time(), ex=60)
    except ResponseError:
        return True
    return False


SCENARIOS: Final = (
    Scenario(
        name="restart_broker",
        summary="SIGTERM to the broker, which is started again",
        play=restart_broker,
        promise=Promise(recovered_seconds=BACK_SOON_SECONDS),
    ),
    Scenario(
        name="kill_broker",
        summary="kill -9 of the broker",
        play=kill_broker,
        promise=Promise(recovered_seconds=BACK_SOON_SECONDS),
    ),
    Scenario(
        name="freeze_broker",
        summary=f"the broker is suspended for {FREEZE_SECONDS:.0f} s while jobs are submitted",
        play=freeze_broker,
        promise=AFTER_HEAL,
    ),
    Scenario(
        name="fill_broker",
        summary=f"the broker is full for {BROKER_FULL_SECONDS:.0f} s and refuses every write",
        play=fill_broker,
        promise=AFTER_HEAL,
    ),
    Scenario(
        name="empty_broker",
        summary="everything in the broker is deleted",
        play=empty_broker,
        promise=Promise(recovered_seconds=20),
    ),
)
