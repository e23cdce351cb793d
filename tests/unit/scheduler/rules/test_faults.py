from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random

import pytest

from scheduler.rules.faults import (
    FAULTS,
    PROFILES,
    FaultKind,
    FaultProfile,
    cuda_fault,
    default_failure_rate,
    names_cuda,
    plan_fault,
    xid_fault,
)
from scheduler.rules.states import CHARGED_REASONS

STARTS = 10_000


def planned(failure_rate: float, profile: FaultProfile = FaultProfile.DEMO, seed: int = 5) -> list[FaultKind]:
    rng = Random(seed)
    faults = [plan_fault(rng, profile, failure_rate) for _ in range(STARTS)]
    return [fault.kind for fault in faults if fault]


def test_every_kind_of_fault_is_in_the_table() -> None:
    assert set(FAULTS) == set(FaultKind)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_fault_is_charged_exactly_where_the_job_runs_again(kind: FaultKind) -> None:
    assert FAULTS[kind].retried == (FAULTS[kind].reason in CHARGED_REASONS)


def test_every_profile_has_its_weights() -> None:
    assert set(PROFILES) == set(FaultProfile)
    assert sum(PROFILES[FaultProfile.DEMO].values()) == pytest.approx(1.0)


def test_profile_none_plans_no_fault() -> None:
    assert planned(1.0, FaultProfile.NONE) == []


def test_a_rate_of_zero_plans_no_fault_and_a_rate_of_one_always_one() -> None:
    assert planned(0.0) == []
    assert len(planned(1.0)) == STARTS


@pytest.mark.parametrize("rate", [0.05, 0.12, 0.5])
def test_faults_come_at_the_gpus_rate(rate: float) -> None:
    assert abs(len(planned(rate)) - rate * STARTS) <= 4 * sqrt(STARTS * rate * (1 - rate))


@pytest.mark.parametrize("kind", list(FaultKind))
def test_kinds_come_in_the_profiles_shares(kind: FaultKind) -> None:
    share = PROFILES[FaultProfile.DEMO].get(kind, 0.0)

    count = Counter(planned(1.0))[kind]

    assert abs(count - share * STARTS) <= 4 * sqrt(STARTS * share * (1 - share))


def test_a_fault_strikes_soon_after_the_start() -> None:
    rng = Random(5)
    faults = [plan_fault(rng, FaultProfile.DEMO, 1.0) for _ in range(1_000)]

    assert all(fault and 0.2 <= fault.after_seconds <= 2.0 for fault in faults)


def test_the_same_dice_plan_the_same_faults() -> None:
    assert planned(0.1, seed=9) == planned(0.1, seed=9) != planned(0.1, seed=10)


def test_default_rates_rise_from_5_to_12_percent() -> None:
    rates = [default_failure_rate(index, 8) for index in range(8)]

    assert (rates[0], rates[-1]) == (0.05, 0.12)
    assert rates == sorted(set(rates))


def test_a_single_gpu_has_the_lowest_rate() -> None:
    assert default_failure_rate(0, 1) == 0.05


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        # CuPy, Numba and the driver's own names, PyTorch.
        ("cudaErrorECCUncorrectable: uncorrectable ECC error encountered", "cudaErrorECCUncorrectable"),
        ("[214] Call to cuMemcpyDtoH results in CUDA_ERROR_ECC_UNCORRECTABLE", "cudaErrorECCUncorrectable"),
        ("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be", "cudaErrorECCUncorrectable"),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "cudaErrorDevicesUnavailable"),
        ("CUDA_ERROR_SYSTEM_NOT_READY: system not yet initialized", "cudaErrorSystemNotReady"),
        # A job's own.
        ("cudaErrorIllegalAddress: an illegal memory access was encountered", None),
        ("cudaErrorLaunchFailure: unspecified launch failure", None),
        ("CUDA error: out of memory", None),
        ("cudaErrorNoDevice: no CUDA-capable device is detected", None),
        ("system not yet initialized", None),
        ("cudaErrorECCUncorrectableButNotReally", None),
        ("", None),
    ],
)
def test_only_errors_that_no_job_causes_are_faults_of_the_gpu(message: str, fault: str | None) -> None:
    assert cuda_fault(["KeyError: 'x'", message]) == fault


@pytest.mark.parametrize(
    ("message", "answer"),
    [("cudaErrorLaunchFailure: unspecified", True), ("CUDA error: out of memory", True), ("no cuda here", False)],
)
def test_an_error_of_cuda_is_recognised(message: str, answer: bool) -> None:
    assert names_cuda(message) is answer


def test_an_xid_error_is_named_with_its_number() -> None:
    assert xid_fault(79) == "Xid 79: the GPU has fallen off the bus"
    assert [xid_fault(xid) for xid in (0, 13, 31, 43, 45, 63, 92)] == [None] * 7
