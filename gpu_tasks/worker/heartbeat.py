"""The worker's heartbeat every 2 s, and the newest sample of its GPU twice a second, from a thread of its own.

It asks Redis and the folder of kept endings, but never the database or the GPU: while those do not answer the worker
still looks alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from gpu_tasks.worker.held import Held, HeldJob
from gpu_tasks.worker.readings import GpuReading
from gpu_tasks.worker.valve import Valve
from scheduler.broker.hints import queue_key
from scheduler.logs import Outage, event_logger
from scheduler.loops.heartbeats import BEAT_SECONDS, Beat, write_beat
from scheduler.loops.samples import LiveSample, drop_future_history, write_history_point, write_sample
from scheduler.rules.moments import SLACK_SECONDS

log = event_logger(__name__)

HEARTBEAT_PERIOD_SECONDS: Final = 0.5
#: A point of the GPU's history is written this often.
HISTORY_SECONDS: Final = 1.0
#: For this time a count of the waiting hints is news.
COUNTED_SECONDS: Final = 2.0


@dataclass(slots=True, kw_only=True)
class Heartbeat:
    """Works in the thread `heartbeat`; what others read of it are single values."""

    gpu: int
    boot: str
    pid: int
    host: str
    reading: Callable[[], GpuReading]
    held: Held
    valve: Valve
    #: The job process, if there is one.
    child_pid: Callable[[], int | None]
    #: (job, attempt) of each ending that is kept on disk.
    kept: Callable[[], tuple[tuple[int, int], ...]]
    redis: Redis
    #: Monotonic seconds of the last write that Redis confirmed.
    last_confirmed: float = field(default_factory=time.monotonic)
    #: Hints in the queues that this GPU reads, and when they were counted (monotonic seconds).
    _waiting: int = 0
    _waiting_at: float = float("-inf")
    _seq: int = 0
    _next_beat: float = 0.0
    _next_point: float = 0.0
    _clock_offset: float = 0.0
    _outage: Outage = field(init=False)

    def __post_init__(self) -> None:
        self._outage = Outage(log, "heartbeat", gpu=self.gpu)

    def hints_waiting(self, now: float) -> int:
        """In the queues that this GPU reads; 0 if they were not counted lately. `now`: monotonic seconds."""
        return self._waiting if now - self._waiting_at < COUNTED_SECONDS else 0

    def tick(self, now: float) -> bool:
        """`now`: monotonic seconds. Returns whether Redis took what was written."""
        job = self.held.read()
        reading = self.reading()
        try:
            if now >= self._next_beat:
                self._beat(job, reading, now)
            self._write_sample(job, reading, now)
        except (RedisError, OSError) as error:
            self._outage.broke(error)
            return False
        self._outage.recovered()
        self.last_confirmed = now
        return True

    def _beat(self, job: HeldJob | None, reading: GpuReading, now: float) -> None:
        seconds, micros = self.redis.time()
        offset = seconds + micros / 1e6 - now
        if offset < self._clock_offset - SLACK_SECONDS or self._seq == 0:
            drop_future_history(self.redis, self.gpu, now + offset)
        self._clock_offset = offset
        self._seq += 1
        # In this order: an ending is on disk before its job is released.
        held = (*((job.key,) if job else ()), *self.kept())
        beat = Beat(
            gpu=self.gpu,
            boot=self.boot,
            seq=self._seq,
            pid=self.pid,
            child_pid=self.child_pid(),
            host=self.host,
            held=held,
            health=reading.sample.health,
            note=self.valve.note,
            at=now + self._clock_offset,
        )
        write_beat(self.redis, beat)
        self._next_beat = now + BEAT_SECONDS

    def _write_sample(self, job: HeldJob | None, reading: GpuReading, now: float) -> None:
        pipe = self.redis.pipeline(transaction=False)
        live = LiveSample(
            sample=reading.sample,
            at=reading.at + self._clock_offset,
            held=job.key if job else None,
            progress=job.progress if job else None,
        )
        write_sample(pipe, self.gpu, live)
        if now >= self._next_point:
            self._next_point = now + HISTORY_SECONDS
            write_history_point(pipe, self.gpu, reading.sample)
        queues = self.valve.reading
        for queue in queues:
            pipe.llen(queue_key(queue))
        # A key of the wrong type must not look like a broker that is unavailable.
        answers = pipe.execute(raise_on_error=False)
        written, lengths = answers[: len(answers) - len(queues)], answers[len(answers) - len(queues) :]
        if (failed := next((each for each in written if isinstance(each, RedisError)), None)) is not None:
            raise failed
        self._waiting = sum(length for length in lengths if isinstance(length, int))
        self._waiting_at = now
