"""The cluster as the model plays it: workers and what they hold, on the product's lifecycle, relay and reaper.

Every answer of the product is compared with the ledger's. What the workers saw goes into witness files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from redis import Redis

from scheduler.broker import hints
from scheduler.broker.hints import Hint
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Claimed
from scheduler.loops.heartbeats import Beat, write_beat
from scheduler.models import Gpu
from scheduler.rules.states import JobState, Reason
from tests.build import submit
from tests.model.broker import Broker, Message
from tests.model.clock import Clock
from tests.model.ledger import MEMORY_MIB, JobShould, Key, Ledger, promise
from tests.model.loops import Loops

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
    loops: Loops = field(init=False)

    def __post_init__(self) -> None:
        self.broker = Broker(self.redis)
        self.loops = Loops(self.redis, self.clock, self.ledger, self.broker)
        for gpu in MEMORY_MIB:
            self.boot(gpu)

    # --- jobs

    def submit(self, count: int, priority: str, max_failures: int, memory_mib: int, *, hinted: bool) -> None:
        now = self._moment()
        params = {"seconds": 0, "memory_mib": memory_mib}
        for job in submit(count, priority=priority, max_failures=max_failures, params=params):
            self.ledger.submit(job.id, priority, max_failures, memory_mib, now)
            if not hinted:
                continue
            with self.broker.refusing():
                hints.send([Hint(job_id=job.id, attempt=1, type=job.type, queue=self.ledger.jobs[job.id].queue)])
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

    def drain(self, gpu: int, *, drained: bool) -> None:
        Gpu.objects.filter(index=gpu).update(drained=drained)
        self.ledger.drained = self.ledger.drained - {gpu} | ({gpu} if drained else set())

    # --- a worker

    def boot(self, gpu: int) -> None:
        """A new worker on this GPU. What ran under the old one's eyes goes on if it can."""
        self.boots += 1
        boot, now = f"boot-{gpu}-{self.boots}", self._moment()
        known = {"backend": "simulated", "memory_total_mib": MEMORY_MIB[gpu], "boot": boot}
        Gpu.objects.update_or_create(index=gpu, defaults=known)
        owed = self.ledger.release(gpu, boot, now)
        left = lifecycle.left_by_older_boots(gpu, boot=boot)
        requeued = [job_id for job_id, attempt in left if lifecycle.requeue(job_id, attempt, Reason.WORKER_RESTARTED)]
        self._answer("requeue at boot", f"GPU {gpu}", sorted(owed), sorted(requeued))
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
        owed = self.ledger.end(run.key, state, reason or "", result)
        found = lifecycle.end(*run.key, JobState(state), reason=reason, result=result)
        self._saw("ended" if found else "refused", run.key, run.gpu, run.boot)
        self._answer(f"end as {state}", f"{run.key} from GPU {run.gpu}", owed, found)

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
        with self.broker.refusing():
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

    # --- parts

    def _moment(self) -> Any:
        self.clock.step()
        return self.clock.now

    def _answer(self, call: str, about: str, owed: Any, found: Any) -> None:
        promise(f"{call} answers right", owed == found, f"{about}: {found} instead of {owed}")

    def _saw(self, what: str, key: Key, gpu: int, boot: str) -> None:
        # Told long ago: the verdict excuses what is news.
        line = {"at": 0.0, "saw": what, "job": key[0], "attempt": key[1], "gpu": gpu, "boot": boot}
        with (self.witness_folder / f"gpu-{gpu}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
