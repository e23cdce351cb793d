"""Job type `compute`: real work on one CPU core, in several kernels, each with a check of its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from hashlib import sha256
from math import isqrt, pi, sqrt
from random import Random
from time import perf_counter
from typing import Any, ClassVar, Final

from pydantic import Field

from scheduler.job_type import JobContext, JobParams, ResultInvalid

type Progress = Callable[[float], None]


class Kernel(StrEnum):
    MONTE_CARLO_PI = "monte_carlo_pi"
    PRIME_SIEVE = "prime_sieve"
    HASH_CHAIN = "hash_chain"


#: Measured on one core of a server with Python 3.13; another core takes half or twice as long.
SECONDS_PER_UNIT: Final = {
    Kernel.MONTE_CARLO_PI: 1.2e-7,
    Kernel.PRIME_SIEVE: 1.6e-9,
    Kernel.HASH_CHAIN: 2.7e-7,
}


class ComputeParams(JobParams):
    kernel: Kernel = Field(default=Kernel.MONTE_CARLO_PI, description="The computation")
    size: int = Field(
        default=5_000_000,
        ge=1_000,
        le=10_000_000_000,
        description="Random points, largest number tested for being prime, or links of the hash chain",
    )
    repetitions: int = Field(default=1, ge=1, le=10_000, description="Number of times the kernel runs")


class Compute:
    name: ClassVar[str] = "compute"
    summary: ClassVar[str] = "Monte Carlo pi, prime sieve or hash chain on one core, with a checked result"
    Params = ComputeParams
    accepts_random_faults: ClassVar[bool] = False

    def run(self, params: ComputeParams, context: JobContext) -> dict[str, Any]:
        started = perf_counter()
        value: Any = None
        for done in range(params.repetitions):

            def progress(share: float, done: int = done) -> None:
                context.progress((done + share) / params.repetitions)

            value = KERNELS[params.kernel](params.size, Random(f"compute:{context.seed}:{done}"), progress)
        context.progress(1.0)
        return {
            "kernel": params.kernel.value,
            "size": params.size,
            "repetitions": params.repetitions,
            "value": value,
            "verified": True,
            "seconds": round(perf_counter() - started, 3),
        }

    def gpu_memory_mib(self, params: ComputeParams) -> int:
        return 0  # it runs on the host alone

    def load(self, params: ComputeParams) -> float:
        return 0.6

    def duration_seconds(self, params: ComputeParams) -> float:
        return params.size * params.repetitions * SECONDS_PER_UNIT[params.kernel]


# --- Monte Carlo pi -------------------------------------------------------------------------------

POINTS_PER_STEP: Final = 250_000


def monte_carlo_pi(points: int, rng: Random, progress: Progress) -> float:
    """pi from the share of random points that fall into a quarter of a circle."""
    uniform, inside = rng.random, 0
    for first in range(0, points, POINTS_PER_STEP):
        count = min(POINTS_PER_STEP, points - first)
        inside += sum(uniform() ** 2 + uniform() ** 2 <= 1.0 for _ in range(count))
        progress((first + count) / points)
    estimate = 4 * inside / points
    check_pi(estimate, points)
    return estimate


def check_pi(estimate: float, points: int) -> None:
    """Six standard deviations of the estimate: a sound run fails this once in 500 million."""
    bound = 6 * sqrt(pi * (4 - pi) / points)
    if not abs(estimate - pi) <= bound:
        raise ResultInvalid(f"pi came out as {estimate}, more than {bound:.2g} off after {points} points")


# --- Prime sieve ----------------------------------------------------------------------------------

#: Odd numbers in one segment: 1 MiB, which stays in a core's cache.
SEGMENT_LENGTH: Final = 2**20

#: Published counts (OEIS A006880), so that the usual limits need no second count.
KNOWN_PRIME_COUNTS: Final = {
    10**3: 168,
    10**4: 1_229,
    10**5: 9_592,
    10**6: 78_498,
    10**7: 664_579,
    10**8: 5_761_455,
    10**9: 50_847_534,
    10**10: 455_052_511,
}


def prime_sieve(limit: int, _rng: Random, progress: Progress) -> int:
    """How many primes there are up to `limit`, by a segmented sieve of Eratosthenes."""
    count = sum(segment.count(1) for segment in _segments(limit, progress)) + 1  # 2 is the even one
    check_prime_count(count, limit)
    return count


def _segments(limit: int, progress: Progress) -> Iterator[bytearray]:
    """The odd numbers from 3 to limit, segment by segment: 1 marks a prime."""
    odd_primes = _small_primes(isqrt(limit))[1:]
    for low in range(3, limit + 1, 2 * SEGMENT_LENGTH):
        length = min(SEGMENT_LENGTH, (limit - low) // 2 + 1)
        flags = bytearray(b"\x01") * length
        for prime in odd_primes:
            multiple = max(prime * prime, -(-low // prime) * prime)
            start = (multiple + (0 if multiple % 2 else prime) - low) // 2
            if start < length:
                flags[start::prime] = bytes((length - 1 - start) // prime + 1)
        yield flags
        progress(min(1.0, (low + 2 * length) / limit))


def _small_primes(limit: int) -> list[int]:
    flags = bytearray(b"\x01") * (limit + 1)
    for number in range(2, isqrt(limit) + 1):
        flags[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    return [number for number in range(2, limit + 1) if flags[number]]


def check_prime_count(count: int, limit: int) -> None:
    expected = KNOWN_PRIME_COUNTS.get(limit) or count_primes_without_sieving(limit)
    if count != expected:
        raise ResultInvalid(f"the sieve found {count} primes up to {limit}, a second method {expected}")


def count_primes_without_sieving(limit: int) -> int:
    """Legendre's recurrence over the values limit // k: about limit^(3/4) steps, and no prime is listed."""
    root = isqrt(limit)
    small = [number - 1 for number in range(root + 1)]  # how many numbers 2..k are left, for k <= root
    large = [0, *(limit // k - 1 for k in range(1, root + 1))]  # the same for limit // k
    for p in range(2, root + 1):
        if small[p] == small[p - 1]:
            continue
        below = small[p - 1]
        for k in range(1, min(root, limit // (p * p)) + 1):
            left = large[k * p] if k * p <= root else small[limit // (k * p)]
            large[k] -= left - below
        for k in range(root, p * p - 1, -1):
            small[k] -= small[k // p] - below
    return large[1]


# --- Hash chain -----------------------------------------------------------------------------------

CHECKPOINTS: Final = 64


def hash_chain(links: int, rng: Random, progress: Progress) -> str:
    """SHA-256 of SHA-256 of ... a random start, in hex: no step can be skipped or run in parallel."""
    ends = [links * k // CHECKPOINTS for k in range(CHECKPOINTS + 1)]
    checkpoints = [rng.randbytes(32)]
    for k in range(CHECKPOINTS):
        checkpoints.append(_chain(checkpoints[k], ends[k + 1] - ends[k]))
        progress((k + 1) / CHECKPOINTS)
    k = rng.randrange(CHECKPOINTS)
    check_chain(checkpoints[k], ends[k + 1] - ends[k], checkpoints[k + 1])
    return checkpoints[-1].hex()


def check_chain(start: bytes, links: int, end: bytes) -> None:
    """Computes one stretch of the chain again."""
    if _chain(start, links) != end:
        raise ResultInvalid(f"a stretch of {links} links came out differently the second time")


def _chain(digest: bytes, links: int) -> bytes:
    for _ in range(links):
        digest = sha256(digest).digest()
    return digest


KERNELS: Final[dict[Kernel, Callable[[int, Random, Progress], Any]]] = {
    Kernel.MONTE_CARLO_PI: monte_carlo_pi,
    Kernel.PRIME_SIEVE: prime_sieve,
    Kernel.HASH_CHAIN: hash_chain,
}
