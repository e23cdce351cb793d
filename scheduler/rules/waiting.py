"""What waits, in which order, and why: ageing, the order within a queue, the reason that people are shown.

The relay's queries have copies of the first two (scheduler.models.JobQuerySet); a test compares them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor
from typing import Final

from scheduler.rules.placement import Place, fits
from scheduler.rules.states import PRIORITY_ORDER, Priority

#: A waiting job rises by one priority each time it has waited for this long, unless the setting AGEING_PERIOD says
#: otherwise; never to CRITICAL.
AGEING_SECONDS: Final = 60

#: What AGEING_PERIOD itself may be: up to a year.
AGEING_LOWEST_SECONDS: Final = 1
AGEING_HIGHEST_SECONDS: Final = 365 * 86_400

#: The priorities that can rise: below HIGH, the highest that ageing reaches.
AGEING_PRIORITIES: Final = PRIORITY_ORDER[2:]

#: Share of all starts that jobs may take ahead of their own priority, unless the setting AGEING_SHARE says otherwise.
AGEING_SHARE: Final = 0.1

#: Unused share is kept up to this number of starts. More would be spent as a burst when the first jobs have aged.
AGEING_KEPT_STARTS: Final = 1.0

#: Jobs ahead of a waiting one are counted up to this number.
AHEAD_MAXIMUM: Final = 1_000


def effective_priority(priority: Priority, waited_seconds: float, ageing_seconds: float) -> Priority:
    """One level up for each `ageing_seconds` waited, never to CRITICAL (unless it is)."""
    if priority is Priority.CRITICAL:
        return priority
    return PRIORITY_ORDER[max(1, priority.rank - int(waited_seconds / ageing_seconds))]


def has_aged(priority: Priority, waited_seconds: float, ageing_seconds: float) -> bool:
    """Whether the job may start ahead of its own priority."""
    return effective_priority(priority, waited_seconds, ageing_seconds) is not priority


@dataclass(slots=True)
class AgeingBudget:
    """The starts that aged jobs may take: a share of all starts, 0 to 1, spent when an aged job starts."""

    share: float
    #: Below 0 after aged jobs that started without a place, until the share has made up for them.
    _starts: float = 0.0

    def earn(self, starts: int) -> None:
        """After this number of further starts; fewer than 0 count as none."""
        self._starts = min(self._starts, AGEING_KEPT_STARTS) + max(0, starts) * self.share

    def spend(self, starts: int) -> None:
        """This number of aged jobs have started."""
        self._starts -= starts

    def room(self, raised: int) -> int:
        """The number of jobs that may rise, beside those that have risen and not yet started."""
        # Ten times a tenth is a little less than 1.
        return max(0, floor(self._starts + 1e-9) - raised)


def order_in_queue(*, job_id: int, attempt: int) -> tuple[bool, int]:
    """Sorts the jobs of one queue: those that ran before come first; then by id, which is by time of submission."""
    return attempt == 1, job_id


def ageing_order(*, job_id: int, queued_at: datetime) -> tuple[datetime, int]:
    """Sorts aged jobs: the one that has waited longest first."""
    return queued_at, job_id


# --- why it waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A queued job, as far as it decides why the job waits.

    gpu: where its last attempt ran. ahead: the number of due jobs that start before it, at most AHEAD_MAXIMUM + 1.
    """

    needed_mib: int
    not_before: datetime
    gpu: int | None
    elsewhere_until: datetime | None
    ahead: int


def waits_because(wait: Wait, places: Sequence[Place], busy: Collection[int], now: datetime) -> str:
    """Why the job does not run now, in words for people; never empty. busy: the GPUs that hold a job."""
    if not places:
        return "no GPU has been registered yet"
    fitting = [place for place in places if fits(place.memory_total_mib, wait.needed_mib)]
    if not fitting:
        largest_mib = max(place.memory_total_mib or 0 for place in places)
        return f"it needs {wait.needed_mib} MiB of GPU memory; the largest GPU has {largest_mib}"
    open_places = [place for place in fitting if place.takes_jobs]
    if not open_places:
        return f"no GPU with {wait.needed_mib} MiB of memory takes jobs now: {_reasons(fitting)}"
    if wait.not_before > now:
        return f"it failed and backs off until {_clock(wait.not_before)}"
    parts = []
    if wait.elsewhere_until is not None and wait.elsewhere_until > now and len(open_places) > 1:
        parts.append(f"it failed on GPU {wait.gpu} and is left to another GPU until {_clock(wait.elsewhere_until)}")
    if wait.ahead > 0:
        parts.append(f"behind {_jobs(wait.ahead)} of the same or a higher priority")
    elif all(place.gpu in busy for place in open_places):
        parts.append("next in line; every GPU that it may run on is busy")
    elif not parts:
        parts.append("next in line; a GPU takes it at any moment")
    return "; ".join(parts)


def _reasons(places: Sequence[Place]) -> str:
    """GPUs with the same reason together."""
    gpus: dict[str, list[int]] = {}
    for place in places:
        gpus.setdefault(place.closed_because or "no worker has started", []).append(place.gpu)
    return "; ".join(f"GPU {', '.join(map(str, indexes))}: {reason}" for reason, indexes in gpus.items())


def _jobs(ahead: int) -> str:
    if ahead > AHEAD_MAXIMUM:
        return f"more than {AHEAD_MAXIMUM:,} jobs"
    return "1 job" if ahead == 1 else f"{ahead:,} jobs"


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S} UTC"
