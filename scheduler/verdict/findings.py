"""What a verdict found, and its outcome."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from scheduler.verdict.rules import Breach

#: The number of breaches that are kept with their words; all are counted.
BREACHES_KEPT: Final = 100


class VerdictOutcome(IntEnum):
    """The exit code."""

    HOLDS = 0
    BROKEN = 1
    CANNOT_TELL = 2


@dataclass(slots=True)
class Verdict:
    jobs: int = 0
    events: int = 0
    starts: int = 0
    testimonies: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    breaches: list[Breach] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    starts_without_witness: int = 0
    recovery_seconds: array[float] = field(default_factory=lambda: array("d"))
    detection_seconds: array[float] = field(default_factory=lambda: array("d"))
    requeues: Counter[str] = field(default_factory=Counter)
    priority_inversions: int = 0
    #: Starts ahead of more urgent jobs that the ageing rule allows.
    aged_starts: int = 0
    refused_commits: int = 0
    #: Deaths of a job process, worker or GPU that nobody ordered: no random fault, no injection, no chaos scenario, and
    #: not of a job that fails on purpose. 0 on an undisturbed run.
    unexplained_deaths: int = 0
    overlaps_in_unconfirmed_kills: int = 0
    #: Witness lines that a crash cut off, by file: set aside, as their worker has marked them.
    torn_lines: dict[str, int] = field(default_factory=dict)

    @property
    def outcome(self) -> VerdictOutcome:
        if self.broken:
            return VerdictOutcome.BROKEN
        return VerdictOutcome.CANNOT_TELL if self.gaps else VerdictOutcome.HOLDS

    def add_gap(self, words: str) -> None:
        if len(self.gaps) < BREACHES_KEPT:
            self.gaps.append(words)

    def add(self, breach: Breach) -> None:
        self.broken[breach.rule] += 1
        if len(self.breaches) < BREACHES_KEPT:
            self.breaches.append(breach)

    def as_dict(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome.name.lower(),
            "jobs": self.jobs,
            "events": self.events,
            "starts": self.starts,
            "starts_without_witness": self.starts_without_witness,
            "testimonies": self.testimonies,
            "states": dict(self.counts),
            "broken": dict(self.broken),
            "breaches": [{"rule": b.rule, "job": b.job, "words": b.words} for b in self.breaches],
            "cannot_tell": self.gaps,
            "requeues": dict(self.requeues),
            "detection_seconds": _quantiles(self.detection_seconds),
            "recovery_seconds": _quantiles(self.recovery_seconds),
            "priority_inversions": self.priority_inversions,
            "aged_starts": self.aged_starts,
            "refused_commits": self.refused_commits,
            "unexplained_deaths": self.unexplained_deaths,
            "overlaps_in_unconfirmed_kills": self.overlaps_in_unconfirmed_kills,
            "torn_witness_lines": self.torn_lines,
        }


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if len(values) == 0:
        return None
    return {"n": len(values), "p50": round(statistics.median(values), 3), "max": round(max(values), 3)}
