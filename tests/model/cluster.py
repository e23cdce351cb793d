"""The cluster as the model plays it: workers and what they hold, on the product's lifecycle, relay and reaper.

Every answer of the product is compared with the ledger's. What the workers saw goes into witness files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from redis import Redis

from scheduler import hints, lifecycle
from scheduler.hints import Hint
from scheduler.lifecycle import Claimed
from scheduler.liveness import Beat, write_beat
from scheduler.models import Gpu, JobEvent
from scheduler.reaper import REASONS, Reaper
from scheduler.relay import Relay
from scheduler.states import JobState, Priority, Reason
from tests.build import submit
from tests.model.broker import Broker, Interrupted, Message
from tests.model.clock import Clock
from tests.model.foresight import Reading, ReaperForesight, RelayForesight
from tests.model.ledger import JobShould, Key, Ledger, promise

GPUS: Final = 3
BEAT_SECONDS: Final = 2.0


@dataclass(slots=True)
class Run:
    """One attempt in one child process. It may outlive its claim."""

    key: Key
    gpu: int
    boot: str
    alive: bool = True


@dataclass(slots=True)
class Worker:
    """The worker process of a GPU. Stopped: it neither beats nor looks after its child, which goes on."""

    gpu: int
    boot: str
    alive: bool = True
    stopped: bool = False
    seq: int = 0
    #: Monotonic seconds.
    next_beat: float = 0.0
    run: Run | None = None

    @property
    def acts(self) -> bool:
        return self.alive and not self.stopped


@dataclass(slots=True)
class Kept:
    """A result on the disk of a GPU's host."""

    run: Run
    state: str


@dataclass(slots=True)
class Cluster:
    redis: Redis
    clock: Clock
    witness_folder: Path
    ledger: Ledger = field(default_factory=Ledger)
    workers: dict[int, Worker] = field(default_factory=dict)
    #: Children that run, or that died and were not buried; also those whose claim is long lost.
    runs: list[Run] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    boots: int = 0
    broker: Broker = field(init=False)
    relay: Relay = field(init=False)
    reaper: Reaper = field(init=False)
    reads: Interrupted = field(init=False)
    _relay_foresight: RelayForesight = field(init=False)
    _reaper_foresight: ReaperForesight = field(init=False)

    def __post_init__(self) -> None:
        self.broker = Broker(self.redis)
        self.start_scheduler()
        for gpu in range(GPUS):
            self.boot(gpu)

    def start_scheduler(self) -> None:
        """Relay and reaper forget what they remembered."""
        self.reads = Interrupted(self.redis)
        self.relay, self._relay_foresight = Relay(self.redis), RelayForesight()
        self.reaper, self._reaper_foresight = Reaper(self.reads), ReaperForesight()

    # --- jobs

    def submit(self, count: int, priority: str, max_failures: int, *, hinted: bool) -> None:
        now = self._moment()
        for job in submit(count, priority=priority, max_failures=max_failures):
            self.ledger.submit(job.id, priority, max_failures, now)
            if hinted:
                hints.send([Hint(job_id=job.id, attempt=1, type=job.type, queue=Priority(priority))])
        self.broker.lying()

    def cancel(self, job: JobShould) -> None:
        self._moment()
        found = lifecycle.cancel(job.id, actor="the model")
        self._answer("cancel", f"job {job.id}", self.ledger.cancel(job.id), found.value)

    def requeue(self, key: Key, reason: Reason) -> None:
        now = self._moment()
        found = lifecycle.requeue(*key, reason)
        owed = self.ledger.requeue(key, reason.value, now)
        self._answer(f"requeue for {reason}", f"{key}", owed, None if found is None else found.value)

    # --- a worker

    def boot(self, gpu: int) -> None:
        """A new worker on this GPU. What ran under the old one's eyes goes on if it can."""
        self.boots += 1
        boot, now = f"boot-{gpu}-{self.boots}", self._moment()
        Gpu.objects.update_or_create(
            index=gpu, defaults={"backend": "simulated", "memory_total_mib": 81559, "boot": boot}
        )
        owed = self.ledger.release(gpu, boot, now)
        self._answer("release at boot", f"GPU {gpu}", sorted(owed), sorted(lifecycle.release_gpu(gpu, boot=boot)))
        self.workers[gpu] = Worker(gpu=gpu, boot=boot)

    def follow(self, worker: Worker, key: Key) -> str:
        """One hint, as far as the claim."""
        now = self._moment()
        self._saw("claiming", key, worker.gpu, worker.boot)
        found = lifecycle.claim(*key, gpu=worker.gpu, boot=worker.boot)
        answer = "claimed" if isinstance(found, Claimed) else found.value
        owed = self.ledger.claim(key, worker.gpu, worker.boot, now)
        self._answer("claim", f"{key} on GPU {worker.gpu}", owed, answer)
        if answer == "claimed":
            self._saw("started", key, worker.gpu, worker.boot)
            worker.run = Run(key, worker.gpu, worker.boot)
            self.runs.append(worker.run)
        return answer

    def take(self, worker: Worker, message: Message) -> str:
        """A hint from its queue; what another worker should follow goes back."""
        self.broker.take(message)
        answer = self.follow(worker, message.key)
        if answer in {"gpu_busy", "elsewhere"}:
            self.broker.put(message, in_front=True)
        return answer

    def end(self, run: Run, state: str) -> None:
        """The child says how its attempt ended; accepted or refused."""
        self._moment()
        result = {"by": [*run.key, run.gpu]} if state == "succeeded" else None
        reason = Reason.JOB_ERROR if state == "failed" else None
        found = lifecycle.end(*run.key, JobState(state), reason=reason, result=result)
        self._saw("ended" if found else "refused", run.key, run.gpu, run.boot)
        self._answer(f"end as {state}", f"{run.key} from GPU {run.gpu}", self.ledger.end(run.key, state, result), found)

    def gone(self, run: Run) -> None:
        """Its process has ended, and its worker knows."""
        self.runs = [other for other in self.runs if other is not run]
        for worker in self.workers.values():
            if worker.run is run:
                worker.run = None

    def beat(self, worker: Worker, held: list[Key] | None = None) -> None:
        """held: composed earlier than now."""
        worker.seq += 1
        worker.next_beat = self.clock.seconds + BEAT_SECONDS
        beat = Beat(
            gpu=worker.gpu,
            boot=worker.boot,
            seq=worker.seq,
            pid=1,
            child_pid=2,
            host="here",
            held=tuple(self.held(worker) if held is None else held),
            health="healthy",
            note="",
            at=self.clock.seconds,
        )
        write_beat(self.redis, beat)

    def held(self, worker: Worker) -> list[Key]:
        kept = [kept.run.key for kept in self.kept if kept.run.gpu == worker.gpu]
        return [*([worker.run.key] if worker.run else []), *kept]

    def flush(self, gpu: int) -> None:
        """Commits what waits on the disk."""
        waiting = [kept for kept in self.kept if kept.run.gpu == gpu]
        for kept in waiting:
            self.end(kept.run, kept.state)
        self.kept = [kept for kept in self.kept if kept not in waiting]

    # --- the scheduler's loops

    def tick_relay(self) -> None:
        self._moment()
        before = self.broker.counts()
        self.relay.tick(self.clock.seconds)
        self._relay_foresight.check(self.ledger, self.clock, before, self.broker.counts())

    def tick_reaper(self, *, before: Callable[[], None] | None = None, after: Callable[[], None] | None = None) -> None:
        """before, after: what else happens just before and after it reads the beats."""
        self._moment()
        at = self.clock.seconds
        running = frozenset((*job.key, job.gpu or 0, job.boot) for job in self.ledger.in_state("running"))
        self.reads.before, self.reads.after = before, after
        self.reaper.tick(at)
        self._reaper_foresight.read(Reading(at, self.reads.read, running))
        for run in sorted(running):
            job = self.ledger.jobs[run[0]]
            if job.state == "running" and job.attempt == run[1]:
                reason = self._taken_for(job)
                self._reaper_foresight.check(run, reason)
                if reason is not None:
                    self.ledger.requeue(job.key, reason, self.clock.now)

    def _taken_for(self, job: JobShould) -> str | None:
        """The reason in the newest event, if there is one that the ledger does not know."""
        newest = JobEvent.objects.filter(job_id=job.id).order_by("-n").values_list("n", "reason", "detail").first()
        if newest is None or newest[0] <= len(job.story):
            return None
        if newest[1] != "exhausted":
            return newest[1]
        # That only says that it was not the first failure; which one it was, the words say.
        return next(reason.value for reason, words in REASONS.values() if words in newest[2])

    # --- parts

    def _moment(self) -> Any:
        """Each call of the product has a moment of its own."""
        self.clock.advance(0.001)
        return self.clock.now

    def _answer(self, call: str, about: str, owed: Any, found: Any) -> None:
        promise(f"{call} answers right", owed == found, f"{about}: {found} instead of {owed}")

    def _saw(self, what: str, key: Key, gpu: int, boot: str) -> None:
        # Told long ago: the verdict excuses what is news.
        line = {"at": 0.0, "saw": what, "job": key[0], "attempt": key[1], "gpu": gpu, "boot": boot}
        with (self.witness_folder / f"gpu-{gpu}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
