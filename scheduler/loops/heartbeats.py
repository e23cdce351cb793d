"""Heartbeats of GPU workers: their key in Redis, writing, reading, and the judgement which worker is dead.

The judge has the caller's monotonic clock alone, and compares sequence numbers, not times of other machines.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from redis import Redis

from scheduler.loops.typed_json import by_gpu, integer, number, pair, text
from scheduler.redis_client import KEY_PREFIX
from scheduler.rules.moments import age

#: Between two beats of a worker.
BEAT_SECONDS: Final = 2.0

#: A worker whose beat has not changed for this time is dead. With the reaper's scan of 0.5 s, known within 10 s.
SILENCE_SECONDS: Final = 9.0

#: The reaper judges only on reads not older than this; after a gap every worker gets one fresh term.
FRESH_READ_SECONDS: Final = 3.0

#: Beats in a row that do not list a running job, after which its job process is dead.
MISSING_BEATS: Final = 2

#: Of the key that the reaper writes to prove that the broker accepts heartbeats.
PROOF_TTL_SECONDS: Final = 600


def beats_key() -> str:
    """A hash: GPU index -> beat as JSON."""
    return f"{KEY_PREFIX}beats"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """held: (job, attempt) that this worker runs, or whose result waits on its disk."""

    gpu: int
    boot: str
    seq: int
    pid: int
    child_pid: int | None
    host: str
    held: tuple[tuple[int, int], ...]
    health: str
    note: str
    #: Redis TIME when it was written, seconds since the epoch; for readers only, the judge does not use it.
    at: float

    def is_recent(self, now: float) -> bool:
        """Whether its worker lives, as far as one reading can tell. now: Redis TIME.

        A beat from the future does not show that: the clock was set back since, and a living worker replaces its beat
        within 2 s.
        """
        seconds = age(now, self.at)
        return seconds is not None and seconds < SILENCE_SECONDS


def write_beat(client: Redis, beat: Beat) -> None:
    client.hset(beats_key(), str(beat.gpu), json.dumps(asdict(beat)))


def prove_writable(client: Redis) -> None:
    """Raises a RedisError where the broker would refuse heartbeats too."""
    client.set(f"{KEY_PREFIX}reaper", "looks", ex=PROOF_TTL_SECONDS)


def read_beats(client: Redis) -> dict[int, Beat]:
    """The last beat of each GPU's worker, however old. One that cannot be read counts as none."""
    found = {gpu: _beat(values) for gpu, values in by_gpu(client.hgetall(beats_key())).items()}
    return {gpu: beat for gpu, beat in found.items() if beat is not None}


def closed_gpus(client: Redis) -> dict[int, str]:
    """Why GPUs take no jobs, as their workers report or their silence shows, in words for people."""
    seconds, micros = client.time()
    found = {}
    for gpu, beat in read_beats(client).items():
        if not beat.is_recent(seconds + micros / 1e6):
            found[gpu] = "its worker has sent no heartbeat"
        elif beat.note:
            found[gpu] = beat.note
    return found


def _beat(values: dict[str, Any]) -> Beat | None:
    gpu, seq, pid = (integer(values.get(name)) for name in ("gpu", "seq", "pid"))
    boot, host, health, note = (text(values.get(name)) for name in ("boot", "host", "health", "note"))
    held, at = _held(values.get("held")), number(values.get("at"))
    if gpu is None or seq is None or pid is None or held is None or at is None:
        return None
    if boot is None or host is None or health is None or note is None:
        return None
    return Beat(
        gpu=gpu,
        boot=boot,
        seq=seq,
        pid=pid,
        child_pid=integer(values.get("child_pid")),
        host=host,
        held=held,
        health=health,
        note=note,
        at=at,
    )


def _held(value: object) -> tuple[tuple[int, int], ...] | None:
    """None if one entry cannot be read: a job that is missing from the list is taken for dead."""
    found = [pair(each) for each in value] if isinstance(value, list) else [None]
    known = [each for each in found if each is not None]
    return tuple(known) if len(known) == len(found) else None


class Finding(StrEnum):
    SILENT = "silent"
    OTHER_BOOT = "other_boot"
    NOT_LISTED = "not_listed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    job_id: int
    attempt: int
    gpu: int
    boot: str


@dataclass(slots=True)
class _WorkerSeen:
    boot: str | None = None
    seq: int = -1
    #: Monotonic seconds at which this beat was first seen, or the worker's term was renewed.
    since: float = 0.0


@dataclass(slots=True)
class _JobSeen:
    first_seq: int
    misses: int = 0
    last_seq: int = -1


@dataclass(slots=True)
class Judge:
    """Decides from beats and running jobs which workers and job processes are dead. No I/O."""

    _workers: dict[int, _WorkerSeen] = field(default_factory=dict)
    _jobs: dict[tuple[int, int], _JobSeen] = field(default_factory=dict)
    _last_read: float | None = None

    def judge(self, beats: dict[int, Beat], running: list[RunningJob], now: float) -> list[tuple[RunningJob, Finding]]:
        """Call it after each good read. `now`: monotonic seconds."""
        if self._last_read is None or now - self._last_read >= FRESH_READ_SECONDS:
            self._renew_terms(now)
        self._last_read = now
        self._note(beats, now)
        current = {(job.job_id, job.attempt) for job in running}
        self._jobs = {key: seen for key, seen in self._jobs.items() if key in current}
        found = [(job, self._finding(job, beats.get(job.gpu), now)) for job in running]
        return [(job, finding) for job, finding in found if finding is not None]

    def is_alive(self, gpu: int, now: float) -> bool:
        seen = self._workers.get(gpu)
        return seen is not None and seen.boot is not None and now - seen.since < SILENCE_SECONDS

    def _renew_terms(self, now: float) -> None:
        for seen in self._workers.values():
            seen.since = now

    def _note(self, beats: dict[int, Beat], now: float) -> None:
        for gpu, beat in beats.items():
            seen = self._workers.setdefault(gpu, _WorkerSeen())
            if (seen.boot, seen.seq) != (beat.boot, beat.seq):
                seen.boot, seen.seq, seen.since = beat.boot, beat.seq, now

    def _finding(self, job: RunningJob, beat: Beat | None, now: float) -> Finding | None:
        worker = self._workers.setdefault(job.gpu, _WorkerSeen(since=now))
        if now - worker.since >= SILENCE_SECONDS:
            return Finding.SILENT
        if beat is None:
            return None
        if beat.boot != job.boot:
            return self._other_boot(job, beat)
        return self._listed(job, beat)

    def _other_boot(self, job: RunningJob, beat: Beat) -> Finding | None:
        """A newer worker beats on the GPU. It requeues the job at its boot; the reaper does so if that failed.

        Judged like a missing job: the beat may be the older boot's, written just before it died.
        """
        return Finding.OTHER_BOOT if self._misses(job, beat) >= MISSING_BEATS else None

    def _listed(self, job: RunningJob, beat: Beat) -> Finding | None:
        if (job.job_id, job.attempt) in beat.held:
            self._jobs[job.job_id, job.attempt] = _JobSeen(first_seq=beat.seq)
            return None
        return Finding.NOT_LISTED if self._misses(job, beat) >= MISSING_BEATS else None

    def _misses(self, job: RunningJob, beat: Beat) -> int:
        """Beats in a row without the job, counted from the first one composed after it was seen running."""
        seen = self._jobs.setdefault((job.job_id, job.attempt), _JobSeen(first_seq=beat.seq))
        if beat.seq not in {seen.first_seq, seen.last_seq}:
            seen.misses += 1
        seen.last_seq = beat.seq
        return seen.misses
