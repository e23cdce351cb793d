"""The scheduler processes: relay and reaper of each, the leases that let one of them act, and what each owes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from redis import Redis

from scheduler.loops.lease import LeaseHolder
from scheduler.loops.reaper import REASONS, Reaper
from scheduler.loops.relay import Relay
from scheduler.models import JobEvent
from tests.model.broker import Broker, Interrupted
from tests.model.clock import Clock
from tests.model.foresight import Reading, ReaperForesight, RelayForesight, Run
from tests.model.ledger import JobShould, Ledger, promise

SCHEDULERS: Final = 2

type Happens = Callable[[], None] | None


@dataclass(slots=True)
class Scheduler:
    """One process. Asleep: stopped, or cut off from the database."""

    redis: Redis
    #: Nobody on this machine can see whether it lives: its lease has to run out.
    name: str
    awake: bool = True
    reads: Interrupted = field(init=False)
    relay: Relay = field(init=False)
    reaper: Reaper = field(init=False)
    relay_foresight: RelayForesight = field(default_factory=RelayForesight)
    reaper_foresight: ReaperForesight = field(default_factory=ReaperForesight)
    leases: dict[str, LeaseHolder] = field(init=False)

    def __post_init__(self) -> None:
        self.reads = Interrupted(self.redis)
        self.relay, self.reaper = Relay(self.redis), Reaper(self.reads)
        self.leases = {loop: LeaseHolder(loop, holder=f"another-machine/1/{self.name}") for loop in ("relay", "reaper")}


@dataclass(slots=True)
class Loops:
    redis: Redis
    clock: Clock
    ledger: Ledger
    broker: Broker
    schedulers: list[Scheduler] = field(default_factory=list)
    _starts: int = 0

    def __post_init__(self) -> None:
        self.schedulers = [self._new() for _ in range(SCHEDULERS)]

    def start_anew(self, number: int) -> None:
        """It forgets what it remembered, and holds no lease."""
        self.schedulers[number] = self._new()

    def _new(self) -> Scheduler:
        self._starts += 1
        return Scheduler(self.redis, str(self._starts))

    def tick_relay(self) -> None:
        acting = self._holder("relay")
        if acting is None:
            return
        before = self.broker.lying()
        with self.broker.refusing():
            acting.relay.tick(self.clock.seconds)
        if self.broker.full:
            return
        acting.relay_foresight.check(self.ledger, self.clock, before, self.broker.lying())

    def tick_reaper(self, *, before: Happens = None, after: Happens = None) -> None:
        """before, after: what else happens just before and after it reads the beats."""
        acting = self._holder("reaper")
        if acting is None:
            return
        at = self.clock.seconds
        running = frozenset((*job.key, job.gpu or 0, job.boot) for job in self.ledger.in_state("running"))
        acting.reads.before, acting.reads.after = before, after
        acting.reads.read = None
        with self.broker.refusing():
            acting.reaper.tick(at)
        if acting.reads.read is not None:
            acting.reaper_foresight.read(Reading(at, acting.reads.read, running))
            self._follow_reaper(acting, running)

    def _follow_reaper(self, acting: Scheduler, running: frozenset[Run]) -> None:
        """Whom it took, and whom it left."""
        for run in sorted(running):
            job = self.ledger.jobs[run[0]]
            if job.state == "running" and job.attempt == run[1]:
                reason = _taken_for(job)
                promise("nobody is dead while nobody can beat", not (self.broker.full and reason), f"{run}: {reason}")
                acting.reaper_foresight.check(run, reason)
                if reason is not None:
                    self.ledger.requeue(job.key, reason, self.clock.now)

    def _holder(self, loop: str) -> Scheduler | None:
        """Each asks, as in a turn of its loop."""
        self.clock.step()
        holders = [each for each in self.schedulers if each.awake and each.leases[loop].held(self.clock.seconds)]
        promise("one scheduler acts", len(holders) < 2, f"{[each.name for each in holders]} hold the {loop}'s lease")
        return holders[0] if holders else None


def _taken_for(job: JobShould) -> str | None:
    """The reason in the newest event, if there is one that the ledger does not know."""
    newest = JobEvent.objects.filter(job_id=job.id).order_by("-n").values_list("n", "reason", "detail").first()
    if newest is None or newest[0] <= len(job.story):
        return None
    if newest[1] != "exhausted":
        return newest[1]
    # That only says that it was not the first failure; which one it was, the words say.
    return next(reason.value for reason, words in REASONS.values() if words in newest[2])
