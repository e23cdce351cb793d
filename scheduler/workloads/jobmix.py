"""The mix of jobs by type, priority and parameters, and one job drawn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from scheduler.rules.states import Priority
from scheduler.workloads.spreads import Spread, check_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRow:
    """A share of the jobs. `params`: for each parameter a fixed value or a spread."""

    type: str
    weight: float
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMix:
    """Weights are relative. A type may have several rows; a priority that is not named is never drawn."""

    rows: Sequence[MixRow]
    priorities: Mapping[Priority, float]

    def __post_init__(self) -> None:
        check_weights("rows", [row.weight for row in self.rows])
        check_weights("priorities", list(self.priorities.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnJob:
    """What the generator submits. `params` are plain JSON values, not yet validated by the type."""

    type: str
    priority: Priority
    params: dict[str, Any]


def draw_job(seed: int, arrival_number: int, mix: JobMix) -> DrawnJob:
    """The job for one arrival: it depends on the seed, the number and the mix alone."""
    rng = Random(f"jobmix:{seed}:{arrival_number}")
    row = rng.choices(mix.rows, weights=[row.weight for row in mix.rows])[0]
    priority = rng.choices(list(mix.priorities), weights=list(mix.priorities.values()))[0]
    return DrawnJob(
        type=row.type, priority=priority, params={name: _value(spread, rng) for name, spread in row.params.items()}
    )


def _value(spread: Any, rng: Random) -> Any:
    return spread.draw(rng) if isinstance(spread, Spread) else spread
