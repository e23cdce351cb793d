"""The worker's pulse: a sample of its GPU twice a second, a heartbeat every two, from a thread of its own.

It touches only Redis and the GPU: a database that is away does not make a worker look dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from gpu_tasks.faults import requests as fault_requests
from gpu_tasks.worker.held import Held, HeldJob
from scheduler.broker.hints import queue_key
from scheduler.logs import Outage, event_logger
from scheduler.loops.heartbeats import BEAT_SECONDS, Beat, write_beat
from scheduler.loops.samples import LiveSample, write_history_point, write_sample
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuBackend, GpuLoad, GpuSample

log = event_logger(__name__)

SAMPLE_SECONDS: Final = 0.5
#: A point of the GPU's history is written this often.
HISTORY_SECONDS: Final = 1.0


@dataclass(slots=True)
class Standing:
    """What the warden knows and the pulse reports. Written by one thread, read by another."""

    child_pid: int | None = None
    note: str = ""
    #: The queues from which hints come now; none: the valve is shut.
    reading: tuple[str, ...] = ()
    #: The pulse's own finding: hints that lie in these queues, and when that was (monotonic).
    backlog: int = 0
    backlog_at: float = float("-inf")


@dataclass(slots=True)
class Pulse:
    gpu: int
    boot: str
    pid: int
    host: str
    backend: GpuBackend
    held: Held
    standing: Standing
    redis: Redis
    #: (job, attempt) of each result that waits on disk.
    kept: Callable[[], tuple[tuple[int, int], ...]]
    sample: GpuSample = UNKNOWN_SAMPLE
    #: Monotonic seconds of the last write that Redis confirmed.
    last_confirmed: float = field(default_factory=time.monotonic)
    _seq: int = 0
    _next_beat: float = 0.0
    _next_point: float = 0.0
    _clock_offset: float = 0.0
    _outage: Outage = field(init=False)

    def __post_init__(self) -> None:
        self._outage = Outage(log, "heartbeat", gpu=self.gpu)

    def tick(self, now: float) -> bool:
        """`now`: monotonic seconds. Returns whether Redis took what was written."""
        job = self.held.read()
        load = GpuLoad(compute_share=job.load, memory_mib=job.memory_mib) if job and job.runs else None
        self.sample = self.backend.sample(load, now)
        try:
            if now >= self._next_beat:
                self._beat(job, now)
            self._write_sample(job, now)
        except (RedisError, OSError) as error:
            self._outage.broke(error)
            return False
        self._outage.recovered()
        self.last_confirmed = now
        return True

    def _beat(self, job: HeldJob | None, now: float) -> None:
        seconds, micros = self.redis.time()
        self._clock_offset = seconds + micros / 1e6 - now
        self._seq += 1
        # In this order: a result is on disk before its job is let go.
        held = (*((job.key,) if job else ()), *self.kept())
        beat = Beat(
            gpu=self.gpu,
            boot=self.boot,
            seq=self._seq,
            pid=self.pid,
            child_pid=self.standing.child_pid,
            host=self.host,
            held=held,
            health=self.sample.health,
            note=self.standing.note,
            at=now + self._clock_offset,
        )
        write_beat(self.redis, beat)
        self._next_beat = now + BEAT_SECONDS

    def _write_sample(self, job: HeldJob | None, now: float) -> None:
        pipe = self.redis.pipeline(transaction=False)
        live = LiveSample(
            sample=self.sample,
            at=now + self._clock_offset,
            held=job.key if job else None,
            progress=job.progress if job else None,
        )
        write_sample(pipe, self.gpu, live)
        if now >= self._next_point:
            self._next_point = now + HISTORY_SECONDS
            write_history_point(pipe, self.gpu, self.sample)
        reading = self.standing.reading
        for queue in reading:
            pipe.llen(queue_key(queue))
        pipe.lpop(fault_requests.requests_key(self.gpu))
        # A key of the wrong type must not look like a broker that is away.
        *answers, request = pipe.execute(raise_on_error=False)
        written, lengths = answers[: len(answers) - len(reading)], answers[len(answers) - len(reading) :]
        if (failed := next((each for each in (*written, request) if isinstance(each, RedisError)), None)) is not None:
            raise failed
        self.standing.backlog = sum(length for length in lengths if isinstance(length, int))
        self.standing.backlog_at = now
        if request is not None:
            fault_requests.obey(request, gpu=self.gpu, child_pid=self.standing.child_pid, now=now + self._clock_offset)
