"""What waits, in which order, and why: ageing, the order within a queue, the reason that people are shown.

The relay's queries have copies of the first two (scheduler.models.JobQuerySet); a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from scheduler.rules.placement import Place, fits
from scheduler.rules.states import PRIORITY_ORDER, Priority

#: A waiting job rises by one priority each time it has waited for this long; never to CRITICAL.
AGEING_SECONDS: Final = 60.0

#: The priorities that can rise: below HIGH, the highest that ageing reaches.
AGEING_PRIORITIES: Final = PRIORITY_ORDER[2:]

#: Share of all starts that jobs may take ahead of their own priority.
AGEING_SHARE: Final = 0.1

#: Unused share is kept up to this number of starts.
AGEING_BUDGET_MAXIMUM: Final = 20.0


def effective_priority(priority: Priority, waited_seconds: float) -> Priority:
    """One level up for each AGEING_SECONDS waited, never to CRITICAL (unless it is)."""
    if priority is Priority.CRITICAL:
        return priority
    return PRIORITY_ORDER[max(1, priority.rank - int(waited_seconds / AGEING_SECONDS))]


def has_aged(priority: Priority, waited_seconds: float) -> bool:
    """Whether the job may start ahead of its own priority."""
    return effective_priority(priority, waited_seconds) is not priority


def ageing_budget(budget: float, starts: int) -> float:
    """The starts that aged jobs may take, after this number of further starts in the cluster."""
    return min(AGEING_BUDGET_MAXIMUM, budget + max(0, starts) * AGEING_SHARE)


def order_in_queue(*, job_id: int, attempt: int) -> tuple[bool, int]:
    """Sorts the jobs of one queue: those that ran before come first; then by id, which is by time of submission."""
    return attempt == 1, job_id


def ageing_order(*, job_id: int, queued_at: datetime) -> tuple[datetime, int]:
    """Sorts aged jobs: the one that has waited longest first."""
    return queued_at, job_id


def waits_because(needed_mib: int, places: Sequence[Place]) -> str:
    """Why no GPU can take a job of this size now, in words for people; empty if one can, or no GPU is known."""
    fitting = [place for place in places if fits(place.memory_total_mib, needed_mib)]
    if not places or any(place.takes_jobs for place in fitting):
        return ""
    if not fitting:
        largest_mib = max(place.memory_total_mib or 0 for place in places)
        return f"it needs {needed_mib} MiB of GPU memory; the largest GPU has {largest_mib}"
    names = ", ".join(str(place.gpu) for place in fitting)
    return f"no GPU with {needed_mib} MiB of memory takes jobs now (of that size: {names})"
