"""Keeps a bounded window of hints in each queue, in the database's order: sends lost ones again, removes stale ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.db.models.functions import Now
from redis import Redis

from scheduler.broker import hints
from scheduler.broker.hints import Hint, Key
from scheduler.broker.stale_hints import remove_stale
from scheduler.loops.ageing import Ageing
from scheduler.models import Gpu, Job, JobQuerySet
from scheduler.rules.queues import JobQueue, Tiers
from scheduler.rules.waiting import order_in_queue

#: A hint that was sent longer ago than this, whose job still waits and which is in no queue, is lost.
LOST_AFTER_SECONDS: Final = 5.0

#: Jobs younger than this are left to the process that submitted them. A requeued job has no other sender.
RELAY_GRACE_SECONDS: Final = 0.5

#: Up to this number of waiting jobs of one tier, the index by size finds them and the database sorts them. Of more,
#: the first ones come soon enough in the index of all sizes: at 100,000, both ways read about the same number of rows.
FEW: Final = 5000


@dataclass(slots=True)
class Relay:
    """One tick: read the queues, ask the database what should be in them, remove stale hints, send what is missing."""

    redis: Redis
    ageing: Ageing = field(default_factory=Ageing)
    _sent: dict[tuple[str, Key], float] = field(default_factory=dict)

    def tick(self, now: float) -> int:
        """`now`: monotonic seconds. Returns the number of hints sent."""
        tiers = Gpu.objects.tiers()
        hints.keep_tiers(self.redis, tiers)
        queues = tiers.all_queues()
        present = remove_stale(self.redis, hints.listed(self.redis, [queue.name for queue in queues]))
        self._forget(now)
        window = hints.window(tiers)
        due = {queue: _due(queue, tiers) for queue in queues}
        wanted = [
            hint for queue in queues for hint in self._missing(queue, due[queue], present[queue.name], window, now)
        ]
        aged = self._aged(tiers, due, present, now)
        again = [hint for hint in wanted if hint.attempt > 1]
        if again or aged:
            # Behind a full window an aged job would wait as long as those that came after it.
            hints.send_in_front([*again, *aged], self.redis)
        if len(again) < len(wanted):
            hints.send([hint for hint in wanted if hint.attempt == 1], self.redis)
        self._sent.update({(hint.queue, hint.key): now for hint in [*wanted, *aged]})
        return len(wanted) + len(aged)

    def _missing(self, queue: JobQueue, due: JobQuerySet, present: set[Key], window: int, now: float) -> list[Hint]:
        """The hints that this queue lacks. Those of requeued jobs are sent even when the window is full."""
        room = max(0, window - len(present))
        # A first attempt is left to its submitter for a moment; a later one is sent by the relay alone.
        first = Q(queued_at__lte=Now() - timedelta(seconds=RELAY_GRACE_SECONDS)) if room else Q(pk__in=())
        wanted = due.filter(Q(attempt__gt=1) | first).in_line()
        rows = wanted.values_list("id", "attempt", "type")[: window + len(present)]
        found = [Hint(job_id=row[0], attempt=row[1], type=row[2], queue=queue.name) for row in rows]
        missing = [hint for hint in found if hint.key not in present and not self._is_recent(hint, now)]
        missing.sort(key=lambda hint: order_in_queue(job_id=hint.job_id, attempt=hint.attempt))
        again = [hint for hint in missing if hint.attempt > 1][:window]
        return again + [hint for hint in missing if hint.attempt == 1][:room]

    def _aged(
        self, tiers: Tiers, due: dict[JobQueue, JobQuerySet], present: dict[str, set[Key]], now: float
    ) -> list[Hint]:
        """The missing ones of the second hints, in higher queues, of jobs that have waited long."""
        raised = self.ageing.raised(tiers, due, present, now)
        return [hint for hint in raised if hint.key not in present[hint.queue] and not self._is_recent(hint, now)]

    def _is_recent(self, hint: Hint, now: float) -> bool:
        return now - self._sent.get((hint.queue, hint.key), float("-inf")) < LOST_AFTER_SECONDS

    def _forget(self, now: float) -> None:
        self._sent = {key: at for key, at in self._sent.items() if now - at < LOST_AFTER_SECONDS}


def _due(queue: JobQueue, tiers: Tiers) -> JobQuerySet:
    """The jobs of the queue that may start, by the query that is fast for the number that wait."""
    few = tiers.sizes_gib and Job.objects.queued().of_queue(queue).order_by()[: FEW + 1].count() <= FEW
    return Job.objects.due().of_queue(queue) if few else Job.objects.due().of_long_queue(queue)
