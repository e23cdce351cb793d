"""Samples of GPUs in Redis: their keys, writing them, and reading them back as typed values.

Each GPU has its newest sample in a hash, and the points of the last ten minutes in a stream. What cannot be read
is unknown or left out: a torn value must not break the page, the API or the metrics.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from redis import Redis
from redis.client import Pipeline

from scheduler.loops.typed_json import by_gpu, integer, json_object, number, pair, text
from scheduler.redis_client import KEY_PREFIX
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuHealth, GpuProcess, GpuSample
from scheduler.rules.moments import age

#: Points kept of each GPU: ten minutes, one a second.
HISTORY_POINTS: Final = 600

#: The fields of a point in a GPU's stream, by their names in a sample.
_UTILIZATION, _POWER = "u", "p"


def samples_key() -> str:
    """A hash: GPU index -> newest sample as JSON."""
    return f"{KEY_PREFIX}samples"


def history_key(gpu: int) -> str:
    """A stream of points; ids are Redis times in milliseconds."""
    return f"{KEY_PREFIX}history:{gpu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSample:
    """The newest sample of a GPU, with the job that its worker ran at that moment."""

    sample: GpuSample = UNKNOWN_SAMPLE
    #: Redis TIME when it was taken, in seconds since the epoch.
    at: float = 0.0
    #: (job, attempt); None: no job.
    held: tuple[int, int] | None = None
    #: Of that job, 0 to 1; None: unknown.
    progress: float | None = None

    def progress_of(self, job_id: int, attempt: int) -> float | None:
        """None too if the sample is of another job or attempt."""
        return self.progress if self.held == (job_id, attempt) else None


#: Of a GPU that has none in Redis.
NO_SAMPLE: Final = LiveSample()


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """One second of a GPU's last ten minutes."""

    #: Seconds since the epoch.
    at: float
    utilization_percent: float | None
    power_w: float | None


# --- the newest sample ----------------------------------------------------------------------------


def write_sample(pipe: Pipeline, gpu: int, live: LiveSample) -> None:
    values = {**asdict(live.sample), "at": live.at, "held": live.held, "progress": live.progress}
    # For the worker alone, which deals with it.
    del values["last_fault"]
    pipe.hset(samples_key(), str(gpu), json.dumps(values))


def read_samples(client: Redis) -> dict[int, LiveSample]:
    """The newest sample of each GPU, however old."""
    return {gpu: _live_sample(values) for gpu, values in by_gpu(client.hgetall(samples_key())).items()}


def read_sample(client: Redis, gpu: int) -> LiveSample:
    values = json_object(client.hget(samples_key(), str(gpu)) or b"")
    return NO_SAMPLE if values is None else _live_sample(values)


def _live_sample(values: dict[str, Any]) -> LiveSample:
    sample = GpuSample(
        health=_health(values.get("health")),
        utilization_percent=number(values.get("utilization_percent")),
        memory_used_mib=integer(values.get("memory_used_mib")),
        memory_total_mib=integer(values.get("memory_total_mib")),
        temperature_c=number(values.get("temperature_c")),
        power_w=number(values.get("power_w")),
        temperature_limit_c=number(values.get("temperature_limit_c")),
        sm_clock_mhz=number(values.get("sm_clock_mhz")),
        processes=_processes(values.get("processes")),
        last_xid=integer(values.get("last_xid")),
        note=text(values.get("note")) or "",
    )
    return LiveSample(
        sample=sample,
        at=number(values.get("at")) or 0.0,
        held=pair(values.get("held")),
        progress=number(values.get("progress")),
    )


def _health(value: object) -> GpuHealth:
    return next((health for health in GpuHealth if health == value), GpuHealth.UNKNOWN)


def _processes(value: object) -> tuple[GpuProcess, ...] | None:
    """None if one of them cannot be read: a shorter list would be a false one."""
    if not isinstance(value, list):
        return None
    found = [_process(each) for each in value]
    known = [process for process in found if process is not None]
    return tuple(known) if len(known) == len(found) else None


def _process(value: object) -> GpuProcess | None:
    if not isinstance(value, dict) or (pid := integer(value.get("pid"))) is None:
        return None
    return GpuProcess(pid=pid, memory_mib=integer(value.get("memory_mib")))


# --- the last ten minutes -------------------------------------------------------------------------


def write_history_point(pipe: Pipeline, gpu: int, sample: GpuSample) -> None:
    fields = {_UTILIZATION: sample.utilization_percent, _POWER: sample.power_w}
    shown: Any = {name: "" if value is None else f"{value:.1f}" for name, value in fields.items()}
    pipe.xadd(history_key(gpu), shown, maxlen=HISTORY_POINTS, approximate=True)


def drop_future_history(client: Redis, gpu: int, now: float) -> None:
    """After Redis's clock was set back: new points would all get the id, and so the time, of the last one before. now:
    Redis TIME."""
    newest: Any = client.xrevrange(history_key(gpu), count=1)
    if newest and age(now, _point(*newest[0]).at) is None:
        client.delete(history_key(gpu))


def read_history(client: Redis, gpus: Iterable[int], since: float) -> dict[int, list[HistoryPoint]]:
    """Points by GPU, oldest first, from `since` (seconds since the epoch) on."""
    start = f"{int(since * 1000)}-0"
    found: dict[int, Any] = {gpu: client.xrange(history_key(gpu), min=start) for gpu in gpus}
    return {gpu: [_point(*entry) for entry in entries] for gpu, entries in found.items()}


def _point(entry_id: bytes, fields: dict[bytes, bytes]) -> HistoryPoint:
    return HistoryPoint(
        at=int(entry_id.split(b"-")[0]) / 1000,
        utilization_percent=_decimal(fields.get(_UTILIZATION.encode())),
        power_w=_decimal(fields.get(_POWER.encode())),
    )


def _decimal(written: bytes | None) -> float | None:
    try:
        return number(float(written or b""))
    except ValueError:
        return None
