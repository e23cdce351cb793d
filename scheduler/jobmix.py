"""What the generator makes: the mix by type, priority and duration, drawn from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log
from random import Random
from statistics import NormalDist
from typing import Any, Final

from scheduler.states import Priority


class MixInvalid(ValueError):
    """Names what is wrong with a mix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal:
    """A lognormal within bounds: many small values, few large ones, as job traces show.

    median: before the bounds cut. sigma: of the natural logarithm. digits: 0 gives whole numbers.
    """

    median: float
    sigma: float
    minimum: float
    maximum: float
    digits: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.minimum <= self.median <= self.maximum:
            raise MixInvalid(f"takes 0 < minimum <= median <= maximum, not {self}")
        if not self.sigma > 0:
            raise MixInvalid(f"sigma must be above 0, not {self.sigma}")

    def draw(self, rng: Random) -> float:
        normal = NormalDist(log(self.median), self.sigma)
        share = rng.uniform(normal.cdf(log(self.minimum)), normal.cdf(log(self.maximum)))
        value = min(max(exp(normal.inv_cdf(share)), self.minimum), self.maximum)
        return round(value, self.digits) if self.digits else round(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of `values`, each with its weight."""

    values: Sequence[Any]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.weights):
            raise MixInvalid(f"{len(self.values)} values have {len(self.weights)} weights")
        _check_weights("values", self.weights)

    def draw(self, rng: Random) -> Any:
        return rng.choices(self.values, weights=self.weights)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRow:
    """A share of the jobs. `params`: for each parameter a fixed value, a LogNormal or a Choice."""

    type: str
    weight: float
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMix:
    """Weights are relative. A type may have several rows; a priority that is not named is never drawn."""

    rows: Sequence[MixRow]
    priorities: Mapping[Priority, float]

    def __post_init__(self) -> None:
        _check_weights("rows", [row.weight for row in self.rows])
        _check_weights("priorities", list(self.priorities.values()))


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
    return spread.draw(rng) if isinstance(spread, LogNormal | Choice) else spread


def _check_weights(name: str, weights: Sequence[float]) -> None:
    if any(weight < 0 for weight in weights) or not 0 < sum(weights) < inf:
        raise MixInvalid(f"weights of {name} must be 0 or more, and one above 0: {list(weights)}")


# What jobs ask of GPU memory: median 39 % and p90 83 % of 80 GB in use (AcmeTrace, cluster Seren, August 2023);
# a lognormal through these two points has sigma 0.59.
_MEMORY_MIB: Final = LogNormal(median=32_000, sigma=0.59, minimum=2_000, maximum=76_000)

#: Suits 8 GPUs at 12 jobs a minute: the mean job takes about 24 s, which keeps 60 % of them busy. Types,
#: priorities, durations and sizes are an assumption for demonstrations: the shape (lognormal, short jobs first)
#: is that of published traces, whose medians of 2 to 15 minutes are too long to watch.
#: compute and matrix do real work on the host, so they are few and small: seconds on one core.
DEMO_MIX: Final = JobMix(
    priorities={Priority.CRITICAL: 0.05, Priority.HIGH: 0.20, Priority.NORMAL: 0.50, Priority.LOW: 0.25},
    rows=(
        MixRow(
            type="sleep",
            weight=0.740,
            params={
                "seconds": LogNormal(median=45, sigma=0.9, minimum=2, maximum=60, digits=1),
                "memory_mib": _MEMORY_MIB,
                # Use of real GPUs is nearly binary: the median is 99 % (AcmeTrace, cluster Seren).
                "load": Choice(values=(0.99, 0.9, 0.75, 0.5), weights=(0.5, 0.25, 0.15, 0.1)),
            },
        ),
        MixRow(
            type="compute",
            weight=0.050,
            params={
                "kernel": "monte_carlo_pi",
                "size": LogNormal(median=2e7, sigma=0.5, minimum=1e7, maximum=6e7),
            },
        ),
        MixRow(
            type="compute",
            weight=0.040,
            params={"kernel": "prime_sieve", "size": LogNormal(median=1e9, sigma=0.5, minimum=4e8, maximum=2e9)},
        ),
        MixRow(
            type="compute",
            weight=0.050,
            params={"kernel": "hash_chain", "size": LogNormal(median=8e6, sigma=0.5, minimum=4e6, maximum=2e7)},
        ),
        MixRow(
            type="matrix",
            weight=0.060,
            params={
                "size": Choice(values=(1024, 1536), weights=(0.5, 0.5)),
                "dtype": "float32",
                "repetitions": LogNormal(median=80, sigma=0.5, minimum=40, maximum=160),
            },
        ),
        MixRow(
            type="matrix",
            weight=0.035,
            params={
                "size": 1024,
                "dtype": "float64",
                "repetitions": LogNormal(median=80, sigma=0.5, minimum=40, maximum=160),
            },
        ),
        MixRow(
            type="fault_injection",
            weight=0.025,
            params={
                # No hang: it would hold a GPU up to its time limit.
                "mode": Choice(values=("raise", "out_of_memory", "exit", "kill"), weights=(0.5, 0.2, 0.15, 0.15)),
                "probability": Choice(values=(0.5, 1.0), weights=(0.5, 0.5)),
                "after_seconds": LogNormal(median=3, sigma=0.5, minimum=1, maximum=10, digits=1),
            },
        ),
    ),
)
