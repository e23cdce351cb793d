"""Which waiting jobs rise to a higher queue: those that have waited longest, within their share of all starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db.models.functions import Now

from scheduler.broker.hints import Hint, Key
from scheduler.models import Gpu, Job, JobQuerySet, Tally
from scheduler.rules.queues import JobQueue, Tiers, queue_name
from scheduler.rules.states import EventKind, JobState
from scheduler.rules.waiting import AGEING_PRIORITIES, AgeingBudget, ageing_order, effective_priority

#: After a longer gap between two ticks (another scheduler's relay acted, or none) the starts in it earn nothing: all at
#: once they would allow a burst of aged jobs.
AGEING_GAP_SECONDS: Final = 5.0

#: A tier in GiB; None: the plain queues.
type Tier = int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A job that may rise; hint: the second one, in the higher queue."""

    hint: Hint
    tier: Tier
    queued_at: datetime

    @property
    def order(self) -> tuple[datetime, int]:
        return ageing_order(job_id=self.hint.job_id, queued_at=self.queued_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Raised:
    """payer: the tier whose starts pay for it."""

    queue: str
    payer: Tier


@dataclass(slots=True)
class Ageing:
    """A job that has risen stays risen until it starts, or waits no longer: then its share is spent, or free again.

    Each tier has a share of the starts on its own GPUs, so that one tier's aged jobs cannot take all starts of another
    tier. seconds, share: None: the settings.
    """

    seconds: float | None = None
    share: float | None = None
    _budgets: dict[Tier, AgeingBudget] = field(default_factory=dict)
    _starts_seen: dict[int, int] | None = None
    _raised: dict[Key, _Raised] = field(default_factory=dict)
    _ticked_at: float = float("-inf")

    def raised(
        self, tiers: Tiers, due: Mapping[JobQueue, JobQuerySet], present: Mapping[str, set[Key]], now: float
    ) -> list[Hint]:
        """One call for each tick; `now`: monotonic seconds. The hints that should be in higher queues now, those of the
        longest wait first."""
        self._settle()
        self._earn(tiers, now)
        limits = {tier: self._limit(self._payers(tiers, tier)) for tier in self._budgets}
        found = [each for queue, jobs in due.items() for each in self._candidates(queue, jobs, limits[queue.tier_gib])]
        found.sort(key=lambda candidate: candidate.order)
        return [each.hint for each in found if self._rises(each, self._payers(tiers, each.tier), present)]

    def _settle(self) -> None:
        """Forgets the risen jobs that wait no longer; those that have started spend a start."""
        if not self._raised:
            return
        rows = Job.objects.filter(id__in={job_id for job_id, _ in self._raised}).values_list("id", "attempt", "state")
        now = {job_id: (attempt, state) for job_id, attempt, state in rows}
        for key, raised in list(self._raised.items()):
            attempt, state = now.get(key[0], (key[1], JobState.CANCELLED))
            if (attempt, state) == (key[1], JobState.QUEUED):
                continue
            del self._raised[key]
            if (attempt > key[1] or state != JobState.CANCELLED) and raised.payer in self._budgets:
                self._budgets[raised.payer].spend(1)

    def _earn(self, tiers: Tiers, now: float) -> None:
        share = settings.AGEING_SHARE if self.share is None else self.share
        before = self._budgets
        self._budgets = {tier: before.get(tier) or AgeingBudget(share) for tier in (None, *tiers.sizes_gib)}
        starts = Tally.objects.by_shard(EventKind.STARTED)
        if self._starts_seen is not None and now - self._ticked_at < AGEING_GAP_SECONDS:
            new = dict.fromkeys(self._budgets, 0)
            tier_of = {gpu: tiers.tier_of(mib) for gpu, mib in Gpu.objects.values_list("index", "memory_total_mib")}
            for gpu, n in starts.items():
                new[tier_of.get(gpu)] += n - self._starts_seen.get(gpu, 0)
            for tier, budget in self._budgets.items():
                budget.earn(new[tier])
        self._starts_seen, self._ticked_at = starts, now

    def _payers(self, tiers: Tiers, tier: Tier) -> list[Tier]:
        """The tiers whose GPUs run this tier's jobs, its own first: perhaps none of its own GPUs is in service."""
        return [tier, *(gib for gib in tiers.sizes_gib if gib > (tier or 0))]

    def _limit(self, payers: list[Tier]) -> int:
        """The most jobs of one queue that can be risen after this tick."""
        room = sum(self._budgets[payer].room(0) for payer in payers)
        return room + len(self._raised) if room else 0

    def _candidates(self, queue: JobQueue, jobs: JobQuerySet, at_most: int) -> list[_Candidate]:
        if at_most == 0 or queue.priority not in AGEING_PRIORITIES:
            return []
        seconds = settings.AGEING_SECONDS if self.seconds is None else self.seconds
        found = []
        rows = jobs.aged(seconds).values_list("id", "attempt", "type", "queued_at", Now())
        for job_id, attempt, job_type, queued_at, now in rows[:at_most]:
            higher = effective_priority(queue.priority, (now - queued_at).total_seconds(), seconds)
            name = queue_name(higher, queue.tier_gib)
            hint = Hint(job_id=job_id, attempt=attempt, type=job_type, queue=name)
            found.append(_Candidate(hint=hint, tier=queue.tier_gib, queued_at=queued_at))
        return found

    def _rises(self, each: _Candidate, payers: list[Tier], present: Mapping[str, set[Key]]) -> bool:
        hint, known = each.hint, self._raised.get(each.hint.key)
        payer: Tier
        if known is not None:
            payer = known.payer
        elif hint.key in present[hint.queue]:
            payer = each.tier  # risen before this process began
        else:
            having = [tier for tier in payers if self._budgets[tier].room(self._waiting(each, tier)) > 0]
            if not having:
                return False
            payer = having[0]
        self._raised[hint.key] = _Raised(queue=hint.queue, payer=payer)
        return True

    def _waiting(self, each: _Candidate, payer: Tier) -> int:
        """The jobs that this payer must still pay for. Of its own tier's only those in the same queue: a job that waits
        in the queue of normal jobs must not hold up those in the queue of high ones."""
        mine = [raised for raised in self._raised.values() if raised.payer == payer]
        return sum(raised.queue == each.hint.queue for raised in mine) if payer == each.tier else len(mine)
