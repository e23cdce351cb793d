"""Random numbers without state: the k-th number of a seed's sequence is a function of the seed and k."""

from __future__ import annotations

from math import log
from typing import Final

_MASK: Final = 2**64 - 1
#: Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64).
_GOLDEN_GAMMA: Final = 0x9E3779B97F4A7C15
_UNIT: Final = 2.0**-53
#: Distinguishes the sequence of shares from that of gaps.
_SHARES: Final = 0x5A17

#: No unit gap is longer than this, since the smallest uniform number drawn is 2^-53.
LONGEST_UNIT_GAP: Final = 53 * log(2)


def unit_gap(seed: int, draw: int) -> float:
    """The k-th number of the seed's sequence of exponentials with mean 1; 0.0 to LONGEST_UNIT_GAP."""
    return -log((_bits(seed, draw) + 1) * _UNIT)


def share(seed: int, draw: int) -> float:
    """The k-th number of a second sequence: uniform, 0.0 to below 1.0, unrelated to unit_gap."""
    return _bits(_hash(seed) ^ _SHARES, draw) * _UNIT


def _bits(seed: int, draw: int) -> int:
    """53 random bits: the hash of a counter, so that no state is kept between ticks."""
    return _hash(_hash(seed) + draw * _GOLDEN_GAMMA) >> 11


def _hash(number: int) -> int:
    """SplitMix64's step."""
    z = (number + _GOLDEN_GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
