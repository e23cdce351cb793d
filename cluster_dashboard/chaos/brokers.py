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

from cluster_dashboard.chaos.deaths import AFTER_HEAL, PATIENCE_SECONDS, has_successor
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
#: As long as the promise says.
FREEZE_SECONDS: Final = 30.0
#: Longer than it takes to be thought dead.
FULL_SECONDS: Final = 12.0


def restart_broker(stage: Stage) -> None:
    _end_broker(stage, signal.SIGTERM)


def kill_broker(stage: Stage) -> None:
    _end_broker(stage, signal.SIGKILL)


def _end_broker(stage: Stage, number: signal.Signals) -> None:
    cluster_pids.pid_of(BROKER)  # out of reach: before there is any load
    _load(stage)
    stage.injected()
    old_pid = cluster_pids.send(BROKER, number)
    stage.wait_for(lambda: has_successor(BROKER, old_pid), PATIENCE_SECONDS, "the broker was started again")
    stage.detected()
    stage.see_jobs_flow()


def freeze_broker(stage: Stage) -> None:
    thaw = _freezer(stage)
    _load(stage, FREEZE_SECONDS)
    stage.healing.callback(thaw)
    stage.injected()
    _freeze(stage)
    stage.wait_for(lambda: not _answers(stage.redis), PATIENCE_SECONDS, "the broker does not answer")
    slowest = submit_for(stage, FREEZE_SECONDS)()
    if slowest >= 1.0:
        stage.problems.append(f"promised: submitting takes less than 1 s; it took {slowest:.1f} s")
    thaw()
    stage.healed()
    stage.see_jobs_flow()


def _freezer(stage: Stage) -> Callable[[], object]:
    """What ends the freeze; CannotPlay where the broker can neither be stopped nor asked to stand still."""
    try:
        pid = cluster_pids.pid_of(BROKER)
    except cluster_pids.OutOfReach as reason:
        try:
            stage.redis.client_unpause()
        except (ResponseError, RedisError) as error:
            raise CannotPlay(f"{reason}, and it does not take CLIENT PAUSE: {error}") from None
        return stage.redis.client_unpause

    def thaw() -> None:
        with suppress(ProcessLookupError):
            resume(Victim(worker_pid=pid, child_pid=None))

    return thaw


def _freeze(stage: Stage) -> None:
    """Ends by itself as well, whatever becomes of us."""
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
        raise CannotPlay(f"the broker does not take CONFIG SET: {error}") from None
    _load(stage, FULL_SECONDS)

    def empty() -> None:
        stage.redis.config_set("maxmemory", before)

    stage.healing.callback(empty)
    stage.injected()
    stage.redis.config_set("maxmemory", "1")
    stage.wait_for(lambda: _refuses_writes(stage.redis), PATIENCE_SECONDS, "the broker refuses writes")
    collect = submit_for(stage, FULL_SECONDS, may_be_refused=True)
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
    stage.moment(0.8, 1.5)  # their hints lie in Redis by then
    stage.injected()
    removed = _empty(stage.redis)
    stage.facts["keys_removed"] = removed
    starts = [stage.event(job, EventKind.STARTED) for job in waiting]
    # Every queued job runs: the last one counts.
    stage.recovered(max(start.at for start in starts))


def _empty(client: Redis) -> int:
    """An embedded broker is all ours; of another one only our own keys go."""
    if settings.BROKER_EMBEDDED:
        removed = int(client.dbsize())
        client.flushall()
        return removed
    return sum(int(client.delete(key)) for key in client.scan_iter(match=f"{KEY_PREFIX}*", count=1000))


def _load(stage: Stage, away_seconds: float = 0.0) -> None:
    """Running and waiting jobs of which none may be taken back: nobody's worker dies. One of them runs for longer
    than the broker is away, some end meanwhile."""
    running = stage.sleeps(away_seconds + 4.0)
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
        summary="the broker ends (SIGTERM) and is started again",
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
        summary=f"the broker stands still for {FREEZE_SECONDS:.0f} s while jobs are submitted",
        play=freeze_broker,
        promise=AFTER_HEAL,
    ),
    Scenario(
        name="fill_broker",
        summary=f"the broker is full for {FULL_SECONDS:.0f} s: it refuses every write",
        play=fill_broker,
        promise=AFTER_HEAL,
    ),
    Scenario(
        name="empty_broker",
        summary="all that the broker holds is gone",
        play=empty_broker,
        promise=Promise(recovered_seconds=20),
    ),
)
