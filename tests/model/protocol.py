"""The protocol as a state machine: whatever order of events Hypothesis thinks of, the promises hold.

The lifecycle, the relay, the reaper, the database and Redis are real; clock and dice are the model's. Each rule is
one thing that happens in a cluster, among them those that Celery on Redis is known for: hints that are lost,
repeated, late or out of order, workers that die, hang and wake up. After each the contract is checked; at the end
the cluster heals, and every job must end.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from django.apps import apps
from django.db import connection
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from redis import Redis

from scheduler.models import Control
from scheduler.rules.states import Reason
from tests.model import contract
from tests.model.broker import ROOM_BYTES, reads
from tests.model.clock import Clock
from tests.model.cluster import Cluster, Kept, Run, Worker
from tests.model.healing import heal
from tests.model.ledger import MEMORY_MIB, JobShould
from tests.model.loops import SCHEDULERS, Happens

#: Which of several: taken modulo their number, so that it always means one. The first are the most telling.
PICK = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, 8))
GPU = st.sampled_from(sorted(MEMORY_MIB))
ENDING = st.sampled_from(("succeeded", "failed"))
SCHEDULER = st.integers(0, SCHEDULERS - 1)
#: Mostly one, so that jobs meet in its queue.
PRIORITY = st.sampled_from(("normal", "normal", "normal", "critical", "high", "low"))
#: Fits every GPU, or only the large ones.
MEMORY = st.sampled_from((0, 0, 20_000))
MAX_FAILURES = st.sampled_from((2, 1, 3))
TAKEN_FOR = st.sampled_from((Reason.OPERATOR, Reason.OPERATOR, Reason.WORKER_DIED))
#: Which attempt a hint names that comes out of order: mostly the one that it was sent for.
OFF = st.sampled_from((0, 0, 0, -1, 1))


def of[T](some: Sequence[T], pick: int) -> T:
    return some[pick % len(some)]


class Protocol(RuleBasedStateMachine):
    #: Set once for the process, by hunt.py.
    redis: ClassVar[Redis]
    clock: ClassVar[Clock]

    def __init__(self) -> None:
        super().__init__()
        self.clock.reset()
        self.redis.config_set("maxmemory", ROOM_BYTES)
        self.redis.flushdb()
        _empty_tables()
        Control.objects.create(rate_per_minute=12, preset="normal", seed=7)
        self._folder = tempfile.TemporaryDirectory(prefix="model-witness-")
        self.cluster = Cluster(self.redis, self.clock, Path(self._folder.name))

    # --- jobs

    @rule(count=st.integers(1, 3), priority=PRIORITY, max_failures=MAX_FAILURES, memory_mib=MEMORY)
    def jobs_start(self, count: int, priority: str, max_failures: int, memory_mib: int) -> None:
        """As it should be: submitted, hinted, delivered; dead workers were started anew before."""
        for worker in self.workers:
            if not worker.alive:
                self.cluster.boot(worker.gpu)
        for worker in self.idle[:count]:
            self.cluster.submit(1, priority, max_failures, memory_mib, hinted=False)
            self.cluster.follow(worker, self.newest.key)

    @rule(
        count=st.integers(1, 3), priority=PRIORITY, max_failures=MAX_FAILURES, memory_mib=MEMORY, hinted=st.booleans()
    )
    def submit(self, count: int, priority: str, max_failures: int, memory_mib: int, hinted: bool) -> None:
        self.cluster.submit(count, priority, max_failures, memory_mib, hinted=hinted)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        self.cluster.cancel(of(self.jobs, pick))

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK, off=OFF)
    def operator_requeues(self, pick: int, off: int) -> None:
        """Who may look at a page that is old."""
        job = of(self.jobs, pick)
        self.cluster.requeue((job.id, job.attempt + off), Reason.OPERATOR)

    # --- hints

    @precondition(lambda self: self.ready)
    @rule(worker=PICK, position=st.integers(0, 3), repeated=st.booleans(), beat_under_way=st.booleans())
    def deliver(self, worker: int, position: int, repeated: bool, beat_under_way: bool) -> None:
        """Position 0: the next one. repeated: it stays in the queue, to be delivered again. beat_under_way: composed
        before the claim, written after it."""
        idle = of(self.ready, worker)
        held = self.cluster.held(idle)
        message = of(self.cluster.broker.readable(idle.gpu), position)
        self.cluster.take(idle, message)
        if repeated:
            self.cluster.broker.put(message, in_front=False)
        if beat_under_way:
            self.cluster.beat(idle, held)

    @precondition(lambda self: self.idle and self.jobs)
    @rule(worker=PICK, pick=PICK, off=OFF)
    def deliver_out_of_order(self, worker: int, pick: int, off: int) -> None:
        """A hint that was sent at any time, or by nobody."""
        job = of(self.jobs, pick)
        self.cluster.follow(of(self.idle, worker), (job.id, job.attempt + off))

    @precondition(lambda self: self.cluster.broker.lying())
    @rule(pick=PICK)
    def lose(self, pick: int) -> None:
        self.cluster.broker.take(of(self.cluster.broker.lying(), pick))

    @rule()
    def broker_is_emptied(self) -> None:
        self.cluster.broker.empty()

    @rule(seconds=st.sampled_from((0, 1, 12)))
    def broker_is_full_or_has_room(self, seconds: int) -> None:
        """Full: whatever is written is refused. Then some time of it."""
        self.cluster.broker.fill(full=not self.cluster.broker.full)
        self._run(seconds)

    # --- jobs that run

    @precondition(lambda self: self.living)
    @rule(pick=PICK, state=ENDING)
    def finish(self, pick: int, state: str) -> None:
        """Any child may, also one whose claim is long lost."""
        run = of(self.living, pick)
        self.cluster.end(run, state)
        self.cluster.gone(run)

    @precondition(lambda self: self.living)
    @rule(pick=PICK, state=ENDING, committed=st.booleans())
    def finish_without_answer(self, pick: int, state: str, committed: bool) -> None:
        """The database goes away before or after the commit: the result waits on the disk."""
        run = of(self.living, pick)
        if committed:
            self.cluster.end(run, state)
        self.cluster.kept.append(Kept(run, state))
        self.cluster.gone(run)

    @precondition(lambda self: self.cluster.kept)
    @rule(pick=PICK)
    def commit_what_was_kept(self, pick: int) -> None:
        self.cluster.flush(of(self.cluster.kept, pick).run.gpu)

    @precondition(lambda self: self.living)
    @rule(pick=PICK, noticed=st.sampled_from(("at once", "later", "never")))
    def child_dies(self, pick: int, noticed: str) -> None:
        """Never: its worker forgot it, and only the beats without it tell."""
        run = of(self.living, pick)
        run.alive = False
        if noticed == "at once" and run in self.unburied:
            self._bury(run)
        elif noticed == "never":
            self.cluster.gone(run)

    @precondition(lambda self: self.claimed and self.idle)
    @rule(pick=PICK, reason=TAKEN_FOR, worker=PICK, hangs=st.booleans(), finishes=st.booleans())
    def successor_starts(self, pick: int, reason: Reason, worker: int, hangs: bool, finishes: bool) -> None:
        """A job is taken from a child that does not know of it yet, and another worker has the next hint at once. The
        child finishes now, or lives on."""
        run = of(self.claimed, pick)
        self.cluster.requeue(run.key, reason)
        self.cluster.follow(of(self.idle, worker), self.cluster.ledger.jobs[run.key[0]].key)
        self.cluster.workers[run.gpu].stopped |= hangs
        if finishes and run.alive:
            self.cluster.end(run, "succeeded")
            self.cluster.gone(run)

    @precondition(lambda self: self.unburied)
    @rule(pick=PICK)
    def bury(self, pick: int) -> None:
        """The worker notices its child's death, however late."""
        self._bury(of(self.unburied, pick))

    @precondition(lambda self: self.to_be_killed)
    @rule(pick=PICK)
    def obey_cancel(self, pick: int) -> None:
        run = of(self.to_be_killed, pick)
        self.cluster.requeue(run.key, Reason.CANCEL)
        self.cluster.gone(run)

    # --- workers

    @precondition(lambda self: any(worker.alive for worker in self.workers))
    @rule(pick=PICK, how=st.sampled_from(("killed", "killed alone", "shut down")))
    def worker_ends(self, pick: int, how: str) -> None:
        """Killed alone: its child goes on, and will tell a result that nobody waits for."""
        worker = of([worker for worker in self.workers if worker.alive], pick)
        if worker.run is not None and how == "shut down":
            self.cluster.requeue(worker.run.key, Reason.SHUTDOWN)
        if worker.run is not None and how != "killed alone":
            self.cluster.gone(worker.run)
        worker.alive = False

    @precondition(lambda self: any(worker.acts for worker in self.workers))
    @rule(pick=PICK)
    def worker_stops(self, pick: int) -> None:
        """SIGSTOP, or cut off from Redis."""
        of([worker for worker in self.workers if worker.acts], pick).stopped = True

    @precondition(lambda self: any(worker.stopped for worker in self.workers))
    @rule(pick=PICK)
    def worker_goes_on(self, pick: int) -> None:
        of([worker for worker in self.workers if worker.stopped], pick).stopped = False

    @rule(gpu=GPU)
    def worker_boots(self, gpu: int) -> None:
        """Also beside an older one that was not confirmed dead."""
        self.cluster.boot(gpu)

    @precondition(lambda self: any(worker.acts for worker in self.workers))
    @rule(pick=PICK)
    def beat(self, pick: int) -> None:
        self.cluster.beat(of([worker for worker in self.workers if worker.acts], pick))

    @rule(gpu=GPU, drained=st.booleans())
    def operator_drains(self, gpu: int, drained: bool) -> None:
        self.cluster.drain(gpu, drained=drained)

    # --- the scheduler, and time

    @rule()
    def relay_ticks(self) -> None:
        self.cluster.loops.tick_relay()

    @rule()
    def reaper_ticks(self) -> None:
        self.cluster.loops.tick_reaper()

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK, early=st.booleans(), what=st.sampled_from(("finish", "claim", "give back")))
    def reaper_ticks_while(self, pick: int, early: bool, what: str) -> None:
        """Something happens between its reads, or between its reads and its deeds."""
        action = {"finish": self._finish_any, "claim": self._claim_any, "give back": self._give_back_any}[what]
        happens: Happens = lambda: action(pick)  # noqa: E731 (one of two parameters)
        self.cluster.loops.tick_reaper(before=happens if early else None, after=None if early else happens)

    @rule(number=SCHEDULER)
    def scheduler_starts_anew(self, number: int) -> None:
        self.cluster.loops.start_anew(number)

    @rule(number=SCHEDULER)
    def scheduler_sleeps_or_wakes(self, number: int) -> None:
        """Asleep: stopped, or cut off from the database."""
        scheduler = self.cluster.loops.schedulers[number]
        scheduler.awake = not scheduler.awake

    @rule(seconds=st.sampled_from((10.0, 2.5, 0.5, 6.0, 70.0)), reaper_first=st.booleans())
    def time_passes(self, seconds: float, reaper_first: bool) -> None:
        """And nobody is heard: the scheduler was away, or Redis. reaper_first: it is back before the workers are."""
        self.clock.advance(seconds)
        if reaper_first:
            self.cluster.loops.tick_reaper()

    @rule(seconds=st.sampled_from((12, 3, 6)))
    def cluster_runs(self, seconds: int) -> None:
        """Those who can, beat; relay and reaper tick."""
        self._run(seconds)

    def _run(self, seconds: int) -> None:
        for second in range(seconds):
            self.clock.advance(1.0)
            for worker in self.workers:
                if worker.acts and self.clock.seconds >= worker.next_beat:
                    self.cluster.beat(worker)
            self.cluster.loops.tick_reaper()
            if second % 3 == 0:
                self.cluster.loops.tick_relay()

    # --- what must be true

    @invariant()
    def contract_holds(self) -> None:
        contract.check(self.cluster)

    def teardown(self) -> None:
        """Heals, unless something broke already."""
        try:
            if sys.exc_info()[0] is None:
                heal(self.cluster)
        finally:
            self._folder.cleanup()

    # --- what there is

    @property
    def jobs(self) -> list[JobShould]:
        """Those that run first, then those that wait, then those that ended; in each the newest first."""
        order = ("running", "queued")
        newest_first = reversed(self.cluster.ledger.jobs.values())
        return sorted(newest_first, key=lambda job: order.index(job.state) if job.state in order else len(order))

    @property
    def newest(self) -> JobShould:
        return next(reversed(self.cluster.ledger.jobs.values()))

    @property
    def workers(self) -> list[Worker]:
        """Those with a job first, then those with a large GPU."""
        return sorted(self.cluster.workers.values(), key=lambda worker: (worker.run is None, -MEMORY_MIB[worker.gpu]))

    @property
    def idle(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.acts and worker.run is None]

    @property
    def ready(self) -> list[Worker]:
        """Idle, and a hint lies where it reads."""
        lying = self.cluster.broker.lying()
        return [worker for worker in self.idle if any(reads(worker.gpu, message) for message in lying)]

    @property
    def living(self) -> list[Run]:
        """Those whose claim is lost first."""
        return sorted((run for run in self.cluster.runs if run.alive), key=lambda run: run in self.claimed)

    @property
    def claimed(self) -> list[Run]:
        """Of all processes those whose claim stands."""
        running = {job.key for job in self.cluster.ledger.in_state("running")}
        return [run for run in self.cluster.runs if run.key in running]

    @property
    def unburied(self) -> list[Run]:
        return [worker.run for worker in self.workers if worker.acts and worker.run and not worker.run.alive]

    @property
    def to_be_killed(self) -> list[Run]:
        return [worker.run for worker in self.workers if worker.acts and worker.run and self._cancelled(worker.run)]

    def _cancelled(self, run: Run) -> bool:
        return self.cluster.ledger.jobs[run.key[0]].cancel_requested

    def _bury(self, run: Run) -> None:
        self.cluster.requeue(run.key, Reason.CHILD_DIED)
        self.cluster.gone(run)

    # --- what may happen in the middle of a scan

    def _finish_any(self, pick: int) -> None:
        if self.living:
            self.finish(pick, "succeeded")

    def _claim_any(self, pick: int) -> None:
        if self.idle:
            self.cluster.follow(of(self.idle, pick), of(self.jobs, pick).key)

    def _give_back_any(self, pick: int) -> None:
        self.cluster.requeue(of(self.jobs, pick).key, Reason.OPERATOR)


def _empty_tables() -> None:
    with connection.cursor() as cursor:
        # Events and allocations before the jobs that they belong to.
        for model in reversed(list(apps.get_app_config("scheduler").get_models())):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(model._meta.db_table)}")
