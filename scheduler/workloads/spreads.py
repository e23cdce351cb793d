"""How a parameter of a generated job spreads: lognormal, by weights, or by a tabled distribution."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, isfinite, log
from random import Random
from statistics import NormalDist
from typing import Any, Protocol, runtime_checkable


class MixInvalid(ValueError):
    """Names what is wrong with a mix."""


@runtime_checkable
class Spread(Protocol):
    def draw(self, rng: Random) -> Any: ...

    def extremes(self) -> Sequence[Any]:
        """Values between which all others lie, or all values: what a job type must accept."""
        ...


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
            raise MixInvalid(
                f"must have 0 < minimum <= median <= maximum, not {self.minimum:g}, {self.median:g}, {self.maximum:g}"
            )
        if not self.sigma > 0:
            raise MixInvalid(f"sigma must be above 0, not {self.sigma}")

    def draw(self, rng: Random) -> float:
        normal = NormalDist(log(self.median), self.sigma)
        share = rng.uniform(normal.cdf(log(self.minimum)), normal.cdf(log(self.maximum)))
        return _rounded(min(max(exp(normal.inv_cdf(share)), self.minimum), self.maximum), self.digits)

    def extremes(self) -> Sequence[float]:
        return [_rounded(value, self.digits) for value in (self.minimum, self.maximum)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of `values`, each with its weight."""

    values: Sequence[Any]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.weights):
            raise MixInvalid(f"{len(self.values)} values have {len(self.weights)} weights")
        check_weights("values", self.weights)

    def draw(self, rng: Random) -> Any:
        return rng.choices(self.values, weights=self.weights)[0]

    def extremes(self) -> Sequence[Any]:
        return self.values


@dataclass(frozen=True, slots=True, kw_only=True)
class Cdf:
    """A cumulative distribution by its table: `percent` of all values are at most `values`.

    Between two points the value grows by factors: the table is inverted in log space, as such plots are drawn.
    """

    values: Sequence[float]
    percent: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.percent) or len(self.values) < 2:
            counts = f"{len(self.percent)} and {len(self.values)}"
            raise MixInvalid(f"percent and values must be lists of the same length, 2 or more, not {counts}")
        if not (self.values[0] > 0 and all(a < b < inf for a, b in pairwise(self.values))):
            raise MixInvalid("values must rise from above 0")
        if (self.percent[0], self.percent[-1]) != (0, 100) or not all(a <= b for a, b in pairwise(self.percent)):
            raise MixInvalid("percent must rise from 0 to 100")

    def at(self, share: float) -> float:
        """The value that `share` of all values do not exceed; 0.0 to 1.0."""
        percent = 100.0 * share
        upper = max(1, bisect_left(self.percent, percent))
        low, high = self.percent[upper - 1], self.percent[upper]
        part = (percent - low) / (high - low) if high > low else 1.0
        return float(self.values[upper - 1] * (self.values[upper] / self.values[upper - 1]) ** part)

    def draw(self, rng: Random) -> float:
        return self.at(rng.random())

    def extremes(self) -> Sequence[float]:
        return [self.values[0], self.values[-1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """Durations, shortened by a factor and cut at both ends so that they can be run: seconds, to a hundredth."""

    cdf: Cdf
    scale: float
    longest: float
    shortest: float = 0.1

    def __post_init__(self) -> None:
        if not (self.scale > 0 and isfinite(self.scale)):
            raise MixInvalid(f"scale must be above 0, not {self.scale}")

    def draw(self, rng: Random) -> float:
        return round(min(max(self.cdf.draw(rng) * self.scale, self.shortest), self.longest), 2)

    def extremes(self) -> Sequence[float]:
        return [self.shortest, self.longest]


def check_weights(name: str, weights: Sequence[float]) -> None:
    if any(weight < 0 for weight in weights) or not 0 < sum(weights) < inf:
        raise MixInvalid(f"weights of {name} must be 0 or more, and one above 0: {list(weights)}")


def _rounded(value: float, digits: int) -> float:
    return round(value, digits) if digits else round(value)
