"""Which queue a job waits in, which queues a GPU reads, and in what order.

One queue for each priority. Where GPUs differ in memory there are tiers: `high.80g` holds the jobs of priority
high that need a GPU of 80 GiB, `high` those that fit every GPU. A tier is named by whole GiB: GPUs that differ by
less share one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scheduler.rules.states import PRIORITY_ORDER, Priority

#: The queues without a tier, in strict order.
PLAIN_QUEUES: Final = tuple(priority.value for priority in PRIORITY_ORDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQueue:
    """For jobs that need more than `above_mib` and at most `up_to_mib` of GPU memory; None: no bound."""

    priority: Priority
    #: None: the plain queue.
    tier_gib: int | None = None
    above_mib: int | None = None
    up_to_mib: int | None = None

    @property
    def name(self) -> str:
        return queue_name(self.priority, self.tier_gib)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """GPUs of one size: the least and the most memory among them."""

    gib: int
    least_mib: int
    most_mib: int


@dataclass(frozen=True, slots=True)
class Tiers:
    """The sizes of the cluster's GPUs, smallest first. Made by `tiers_of`."""

    _sizes: tuple[_Size, ...] = ()

    @property
    def sizes_gib(self) -> tuple[int, ...]:
        """Of the tiers that have queues of their own; empty where all GPUs are alike."""
        return tuple(size.gib for size in self._sizes[1:])

    @property
    def largest_mib(self) -> int | None:
        """None: no GPU is known."""
        return self._sizes[-1].most_mib if self._sizes else None

    def tier_of(self, memory_total_mib: int | None) -> int | None:
        """The tier (GiB) of the largest jobs that a GPU of this memory runs; None: those of the plain queues."""
        own_gib = _gib(memory_total_mib or 0)
        return max((gib for gib in self.sizes_gib if gib <= own_gib), default=None)

    def queues(self, priority: Priority) -> list[JobQueue]:
        """Smallest first: each holds the jobs that fit its GPUs and not those of the queue before."""
        if not self._sizes:
            return [JobQueue(priority=priority)]
        # A job between the least and the most memory of one size waits in the queue of the next larger one. After
        # the largest there is none: a worker whose GPU is a little too small drops the hint, and the relay sends it
        # again.
        bounds = [*(size.least_mib for size in self._sizes[:-1]), self._sizes[-1].most_mib]
        return [
            JobQueue(priority=priority, tier_gib=size.gib if i else None, above_mib=above, up_to_mib=up_to)
            for i, (size, above, up_to) in enumerate(zip(self._sizes, [None, *bounds], bounds, strict=False))
        ]

    def all_queues(self) -> list[JobQueue]:
        return [queue for priority in PRIORITY_ORDER for queue in self.queues(priority)]

    def queue_of(self, priority: Priority, needed_mib: int) -> str | None:
        """The queue of a job; None: it needs more than any known GPU has."""
        for queue in self.queues(priority):
            if queue.up_to_mib is None or needed_mib <= queue.up_to_mib:
                return queue.name
        return None

    def read_by(self, memory_total_mib: int | None) -> tuple[str, ...]:
        """The queues of a GPU in its order of reading: by priority, and within one the largest that fits first."""
        own_gib = _gib(memory_total_mib or 0)
        names = [queue.name for queue in self.all_queues() if queue.tier_gib is None or queue.tier_gib <= own_gib]
        return tuple(sorted(names, key=reading_order))


def tiers_of(memory_totals_mib: Iterable[int | None]) -> Tiers:
    """From the memory of every known GPU, in MiB.

    A GPU of unknown memory (None) makes no tier beside GPUs of known memory; alone, it runs only jobs that need
    none.
    """
    totals = list(memory_totals_mib)
    known = [total for total in totals if total] or ([0] if totals else [])
    by_gib: dict[int, list[int]] = {}
    for total in sorted(known):
        by_gib.setdefault(_gib(total), []).append(total)
    return Tiers(tuple(_Size(gib=gib, least_mib=some[0], most_mib=some[-1]) for gib, some in by_gib.items()))


def queue_name(priority: Priority, tier_gib: int | None) -> str:
    return priority.value if tier_gib is None else f"{priority.value}.{tier_gib}g"


def reading_order(queue: str) -> tuple[int, int]:
    """Sorts queues as a worker reads them: strictly by priority; within one, large tiers first, the plain queue last.

    A name that is not a job queue comes after all of them.
    """
    priority, _, tier = queue.partition(".")
    if priority not in PLAIN_QUEUES:
        return len(PLAIN_QUEUES), 0
    return PLAIN_QUEUES.index(priority), -int(tier.removesuffix("g")) if tier else 0


class StrictOrder:
    """A kombu `queue_order_strategy`: by priority, then by tier, whatever order the queues were added in.

    So a queue that is added while the worker runs is read in its place, not last.
    """

    def __init__(self, queues: Iterable[str] | None = None) -> None:
        self.items: list[str] = []
        self.update(queues or ())

    def update(self, queues: Iterable[str]) -> None:
        self.items = sorted(queues, key=reading_order)

    def consume(self, count: int) -> list[str]:
        """The first `count` queues; BRPOP serves them from left to right."""
        return self.items[:count]

    def rotate(self, last_used: str) -> str:
        """Does nothing: the queue just served keeps its place."""
        return last_used


def _gib(mib: int) -> int:
    return round(mib / 1024)
