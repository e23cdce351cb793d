"""Failure rates from the roll-up's counts, with their confidence intervals. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from math import sqrt
from typing import Final, NamedTuple

from scheduler.rules.faults import FAULTS
from scheduler.rules.outcomes import FAILED_OUTCOMES, failures

#: The normal quantile of a two-sided 95 % interval.
Z_95: Final = 1.959963984540054

#: Reasons with which attempts end that a random fault hits. An attempt may end with one of them without a fault.
FAULT_REASONS: Final = frozenset(effect.reason for effect in FAULTS.values())


class Share(NamedTuple):
    """An observed share, 0 to 1, with its 95 % interval."""

    rate: float
    low: float
    high: float


def wilson(hits: int, of: int) -> Share | None:
    """Wilson's score interval (Wilson 1927; Brown, Cai, DasGupta 2001): right for few trials and rare hits too.
    None without a trial."""
    if of <= 0:
        return None
    rate, z2 = hits / of, Z_95**2
    middle = (rate + z2 / (2 * of)) / (1 + z2 / of)
    half = Z_95 * sqrt(rate * (1 - rate) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    # At the ends the interval touches 0 or 1 exactly; a rounding error must not push it past the rate.
    low = 0.0 if hits == 0 else middle - half
    return Share(rate, low, 1.0 if hits == of else middle + half)


class Counted(NamedTuple):
    """Rows of the roll-up with the same key, summed over the hours."""

    gpu: int
    type: str
    priority: str
    outcome: str
    reason: str
    n: int
    at_risk: int
    expected: float


@dataclass(slots=True)
class Attempts:
    """Attempts of one GPU, type, priority or hour, or of all. failed, finished: see rules.outcomes."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    at_risk: int = 0
    faults: int = 0
    expected: float = 0.0

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed

    @property
    def failure(self) -> Share | None:
        return wilson(self.failed, self.finished)

    @property
    def fault(self) -> Share | None:
        """The share of the attempts that accept random faults and failed with a reason of one."""
        return wilson(self.faults, self.at_risk)

    @property
    def expected_fault_rate(self) -> float | None:
        return self.expected / self.at_risk if self.at_risk else None

    @property
    def surprise(self) -> str:
        """Observed faults compared with the failure rate of the GPU; empty if no attempt accepted faults."""
        fault, expected = self.fault, self.expected_fault_rate
        if fault is None or expected is None:
            return ""
        if expected < fault.low:
            return "more than expected"
        return "fewer than expected" if expected > fault.high else "as expected"

    def add(self, row: Counted) -> None:
        failed, finished = failures({row.outcome: row.n})
        self.failed += failed
        self.succeeded += finished - failed
        self.cancelled += row.n - finished
        if failed and row.reason in FAULT_REASONS:
            self.faults += row.at_risk
        self.at_risk += row.at_risk
        self.expected += row.expected


@dataclass(slots=True)
class Summary:
    total: Attempts = field(default_factory=Attempts)
    by_gpu: dict[int, Attempts] = field(default_factory=dict)
    by_type: dict[str, Attempts] = field(default_factory=dict)
    by_priority: dict[str, Attempts] = field(default_factory=dict)
    by_reason: dict[str, int] = field(default_factory=dict)


def summarise(rows: Iterable[Counted], *, no_gpu: int) -> Summary:
    """no_gpu: the index of jobs that never ran; they count in the total and for no GPU."""
    summary = Summary()
    gpus: defaultdict[int, Attempts] = defaultdict(Attempts)
    types: defaultdict[str, Attempts] = defaultdict(Attempts)
    priorities: defaultdict[str, Attempts] = defaultdict(Attempts)
    reasons: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        for attempts in (summary.total, types[row.type], priorities[row.priority]):
            attempts.add(row)
        if row.gpu != no_gpu:
            gpus[row.gpu].add(row)
        if row.outcome in FAILED_OUTCOMES:
            reasons[row.reason] += row.n
    summary.by_gpu = _sorted(gpus)
    summary.by_type, summary.by_priority = _sorted(types), _sorted(priorities)
    summary.by_reason = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return summary


def _sorted[K: Hashable](found: dict[K, Attempts]) -> dict[K, Attempts]:
    return dict(sorted(found.items(), key=lambda item: item[0]))  # type: ignore[arg-type, return-value]
