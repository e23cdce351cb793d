from __future__ import annotations

import json
from hashlib import sha256
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_tasks.job_types import compute
from gpu_tasks.job_types.compute import Compute, Kernel
from scheduler.job_type import ParamsInvalid, ResultInvalid, parse_params
from tests.unit.builders import a_context


def ignore(share: float) -> None:
    """Progress that nobody reads."""


def run(**params: Any) -> dict[str, Any]:
    return Compute().run(parse_params(Compute(), params), a_context())


@pytest.mark.parametrize("kernel", list(Kernel))
def test_each_kernel_gives_a_verified_result_as_json(kernel: Kernel) -> None:
    result = run(kernel=kernel, size=20_000, repetitions=2)

    assert json.loads(json.dumps(result)) == result
    assert result["verified"] is True
    assert result["kernel"] == kernel
    assert result["repetitions"] == 2


@pytest.mark.parametrize("kernel", list(Kernel))
def test_the_same_seed_gives_the_same_value(kernel: Kernel) -> None:
    assert run(kernel=kernel, size=20_000)["value"] == run(kernel=kernel, size=20_000)["value"]


@pytest.mark.parametrize("kernel", list(Kernel))
def test_progress_rises_to_one_over_all_repetitions(kernel: Kernel) -> None:
    told: list[float] = []

    Compute().run(
        parse_params(Compute(), {"kernel": kernel, "size": 20_000, "repetitions": 3}),
        a_context(progress=told.append),
    )

    assert told[-1] == 1.0
    assert len(told) >= 3
    assert all(0.0 <= earlier <= later <= 1.0 for earlier, later in pairwise(told))


def test_pi_is_close() -> None:
    assert run(kernel="monte_carlo_pi", size=400_000)["value"] == pytest.approx(3.14159, abs=0.02)


def test_pi_from_points_that_are_not_random_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Random):
        def random(self) -> float:
            return 0.1

    monkeypatch.setattr(compute, "Random", Stuck)

    with pytest.raises(ResultInvalid, match=r"pi came out as 4\.0"):
        run(kernel="monte_carlo_pi", size=10_000)


@pytest.mark.parametrize("points", [1_000, 1_000_000])
def test_the_bound_on_pi_shrinks_with_the_root_of_the_points(points: int) -> None:
    deviation = 1.642 / points**0.5

    compute.check_pi(3.14159265 + 5.9 * deviation, points)
    with pytest.raises(ResultInvalid):
        compute.check_pi(3.14159265 + 6.1 * deviation, points)


@pytest.mark.parametrize(("limit", "count"), [(1_000, 168), (100_000, 9_592), (1_000_000, 78_498)])
def test_the_sieve_counts_the_primes(limit: int, count: int) -> None:
    assert run(kernel="prime_sieve", size=limit)["value"] == count


@given(limit=st.integers(1_000, 20_000), segment_length=st.integers(50, 3_000))
def test_both_ways_to_count_primes_agree_however_the_sieve_is_cut(limit: int, segment_length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "SEGMENT_LENGTH", segment_length)

        count = compute.prime_sieve(limit, Random(1), ignore)

    assert count == compute.count_primes_without_sieving(limit)


@pytest.mark.parametrize("limit", [1_000, 10_000, 1_000_000])
def test_the_second_method_gives_the_published_counts(limit: int) -> None:
    assert compute.count_primes_without_sieving(limit) == compute.KNOWN_PRIME_COUNTS[limit]


@pytest.mark.parametrize("limit", [100_000, 123_457])
def test_a_sieve_that_forgets_a_prime_is_found_out(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    whole = compute._small_primes
    monkeypatch.setattr(compute, "_small_primes", lambda up_to: whole(up_to)[:-1])

    with pytest.raises(ResultInvalid, match="the sieve found"):
        run(kernel="prime_sieve", size=limit)


def test_the_chain_is_sha256_of_sha256() -> None:
    digest = Random("compute:11:0").randbytes(32)
    for _ in range(1_000):
        digest = sha256(digest).digest()

    assert run(kernel="hash_chain", size=1_000)["value"] == digest.hex()


def test_a_chain_that_comes_out_differently_the_second_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sound, calls = compute._chain, []

    def flips_a_bit_in_the_end(digest: bytes, links: int) -> bytes:
        calls.append(links)
        end = sound(digest, links)
        return bytes([end[0] ^ 1]) + end[1:] if len(calls) > compute.CHECKPOINTS else end

    monkeypatch.setattr(compute, "_chain", flips_a_bit_in_the_end)

    with pytest.raises(ResultInvalid, match="came out differently"):
        run(kernel="hash_chain", size=10_000)


@pytest.mark.parametrize(
    ("field", "value"), [("kernel", "mine_bitcoin"), ("size", 999), ("size", 10**10 + 1), ("repetitions", 0)]
)
def test_a_value_out_of_bounds_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ParamsInvalid) as caught:
        parse_params(Compute(), {field: value})

    assert caught.value.field == f"params.{field}"
