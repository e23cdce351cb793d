from __future__ import annotations

import json
from collections import Counter
from math import sqrt
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_tasks.gpus.simulated import MEMORY_TOTAL_MIB
from gpu_tasks.job_types.compute import Compute
from gpu_tasks.job_types.fault_injection import FaultInjection
from gpu_tasks.job_types.matrix import HOST_SIZE_MAXIMUM, Matrix
from gpu_tasks.job_types.sleep import Sleep
from scheduler.job_type import Catalogue, parse_params
from scheduler.rules.states import Priority
from scheduler.workloads.jobmix import DrawnJob, JobMix, MixRow, draw_job
from scheduler.workloads.read import read_workload
from scheduler.workloads.spreads import Choice, LogNormal, MixInvalid

CATALOGUE = Catalogue([Sleep(), Compute(), Matrix(), FaultInjection()])
DEMO_MIX = read_workload("demo", Path()).mix


@pytest.fixture(scope="module")
def drawn() -> list[DrawnJob]:
    return [draw_job(5, number, DEMO_MIX) for number in range(10_000)]


def a_mix(**params: object) -> JobMix:
    return JobMix(rows=[MixRow(type="sleep", weight=1, params=params)], priorities={Priority.LOW: 1})


def test_a_job_depends_on_seed_and_number_alone(drawn: list[DrawnJob]) -> None:
    again = [draw_job(5, number, DEMO_MIX) for number in reversed(range(200))]

    assert again[::-1] == drawn[:200]


def test_another_seed_makes_other_jobs(drawn: list[DrawnJob]) -> None:
    assert [draw_job(6, number, DEMO_MIX) for number in range(50)] != drawn[:50]


def test_every_drawn_job_has_parameters_that_its_type_takes(drawn: list[DrawnJob]) -> None:
    for job in drawn:
        job_type = CATALOGUE[job.type]
        params = parse_params(job_type, job.params)
        assert 0 <= job_type.gpu_memory_mib(params) < MEMORY_TOTAL_MIB
        assert 0.0 <= job_type.load(params) <= 1.0


def test_drawn_parameters_are_plain_json(drawn: list[DrawnJob]) -> None:
    assert all(json.loads(json.dumps(job.params)) == job.params for job in drawn)


@pytest.mark.parametrize(
    ("job_type", "share"), [("sleep", 0.74), ("compute", 0.14), ("matrix", 0.095), ("fault_injection", 0.025)]
)
def test_types_come_in_their_shares(drawn: list[DrawnJob], job_type: str, share: float) -> None:
    count = Counter(job.type for job in drawn)[job_type]

    assert abs(count - share * len(drawn)) <= 4 * sqrt(len(drawn) * share * (1 - share))


@pytest.mark.parametrize(
    ("priority", "share"),
    [(Priority.CRITICAL, 0.05), (Priority.HIGH, 0.20), (Priority.NORMAL, 0.50), (Priority.LOW, 0.25)],
)
def test_priorities_come_in_their_shares(drawn: list[DrawnJob], priority: Priority, share: float) -> None:
    count = Counter(job.priority for job in drawn)[priority]

    assert abs(count - share * len(drawn)) <= 4 * sqrt(len(drawn) * share * (1 - share))


def test_the_demo_keeps_eight_gpus_busy_for_about_60_percent_at_12_jobs_a_minute(drawn: list[DrawnJob]) -> None:
    on_host_seconds = 4.0  # what compute and matrix take, about
    seconds = [job.params.get("seconds", job.params.get("after_seconds", on_host_seconds)) for job in drawn]

    utilization = sum(seconds) / len(seconds) * (12 / 60) / 8

    assert 0.55 < utilization < 0.65


def test_sleeps_take_2_to_60_seconds(drawn: list[DrawnJob]) -> None:
    seconds = [job.params["seconds"] for job in drawn if job.type == "sleep"]

    assert 2 <= min(seconds) < 4
    assert 56 < max(seconds) <= 60


def test_matrices_of_the_demo_fit_a_laptop(drawn: list[DrawnJob]) -> None:
    sizes = [job.params["size"] for job in drawn if job.type == "matrix"]

    assert max(sizes) <= 2_048 < HOST_SIZE_MAXIMUM


def test_no_job_of_the_demo_hangs(drawn: list[DrawnJob]) -> None:
    modes = Counter(job.params["mode"] for job in drawn if job.type == "fault_injection")

    assert set(modes) == {"raise", "out_of_memory", "exit", "kill"}


def test_a_fixed_value_is_passed_on_as_it_is() -> None:
    assert draw_job(1, 2, a_mix(seconds=3)) == DrawnJob(type="sleep", priority=Priority.LOW, params={"seconds": 3})


def test_a_row_or_a_priority_of_weight_zero_is_never_drawn() -> None:
    mix = JobMix(
        rows=[MixRow(type="sleep", weight=0), MixRow(type="matrix", weight=2)],
        priorities={Priority.HIGH: 0, Priority.LOW: 3},
    )

    assert {(job.type, job.priority) for job in (draw_job(1, n, mix) for n in range(200))} == {("matrix", Priority.LOW)}


@given(
    seed=st.integers(0, 2**32),
    minimum=st.floats(0.5, 10),
    median=st.floats(10, 100),
    maximum=st.floats(100, 1_000),
    sigma=st.floats(0.1, 3),
    digits=st.integers(0, 3),
)
def test_a_lognormal_stays_within_its_bounds(
    seed: int, minimum: float, median: float, maximum: float, sigma: float, digits: int
) -> None:
    spread = LogNormal(median=median, sigma=sigma, minimum=minimum, maximum=maximum, digits=digits)

    rounding = 0.5 * 10**-digits
    assert minimum - rounding <= spread.draw(Random(seed)) <= maximum + rounding


def test_a_lognormal_without_digits_gives_whole_numbers() -> None:
    value = LogNormal(median=5e8, sigma=0.5, minimum=2e8, maximum=1e9).draw(Random(1))

    assert isinstance(value, int)


def test_a_wide_lognormal_has_its_median() -> None:
    rng, spread = Random(1), LogNormal(median=100, sigma=1, minimum=0.01, maximum=1e6, digits=3)

    below = sum(spread.draw(rng) < 100 for _ in range(4_000))

    assert abs(below - 2_000) <= 4 * sqrt(1_000)


@pytest.mark.parametrize(
    "bounds",
    [
        {"median": 1, "minimum": 2, "maximum": 3},
        {"median": 4, "minimum": 2, "maximum": 3},
        {"median": 1, "minimum": 0, "maximum": 3},
        {"median": 1, "minimum": 1, "maximum": 3, "sigma": 0},
    ],
)
def test_bounds_that_make_no_sense_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(MixInvalid):
        LogNormal(**({"sigma": 1.0} | bounds))


def test_a_choice_needs_a_weight_for_each_value() -> None:
    with pytest.raises(MixInvalid, match="2 values have 1 weights"):
        Choice(values=("a", "b"), weights=(1.0,))


@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (1.0, -0.5), (float("inf"), 1.0), (float("nan"),)])
def test_weights_that_cannot_be_drawn_from_are_refused(weights: tuple[float, ...]) -> None:
    rows = [MixRow(type="sleep", weight=weight) for weight in weights]

    with pytest.raises(MixInvalid, match="weights of rows"):
        JobMix(rows=rows, priorities={Priority.LOW: 1})


def test_a_mix_without_priorities_is_refused() -> None:
    with pytest.raises(MixInvalid, match="weights of priorities"):
        JobMix(rows=[MixRow(type="sleep", weight=1)], priorities={})
