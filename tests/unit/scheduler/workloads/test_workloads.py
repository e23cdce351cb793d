"""Workload files: profiles, what they draw, and what is said about a wrong one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.conf import settings

from gpu_tasks.gpus.simulated import MEMORY_TOTAL_MIB
from scheduler.arrivals.clocks import Cycle
from scheduler.arrivals.gaps import Batches, Even
from scheduler.arrivals.rated import Rated
from scheduler.arrivals.replay import Replay
from scheduler.arrivals.shape import Arrival, Position
from scheduler.catalogue import load_catalogue
from scheduler.job_type import Catalogue, parse_params
from scheduler.rules.configuration import EnvironmentInvalid
from scheduler.rules.job_limits import TIME_LIMIT_MAX_SECONDS
from scheduler.rules.states import Priority
from scheduler.workloads.durations import DURATIONS
from scheduler.workloads.read import PROFILE_FOLDER, profile_names, read_workload
from scheduler.workloads.spreads import Cdf, MixInvalid, Scaled
from scheduler.workloads.tables import LONGEST_SECONDS_MAXIMUM
from scheduler.workloads.workload import Workload, check_types

START = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ["burst", "daily", "demo", "helios", "kalos", "pai", "philly", "replay", "seren", "steady", "weekly"]

#: Published quantiles, p10 to p99, in seconds (AcmeTrace, figure of durations).
QUANTILES = {
    "seren": (7, 18, 134, 413, 1_352, 3_269, 27_528),
    "kalos": (23, 40, 125, 380, 1_546, 2_938, 13_714),
    "philly": (36, 108, 853, 3_186, 15_822, 68_672, 413_581),
    "helios": (14, 64, 201, 1_001, 6_969, 20_661, 145_778),
    "pai": (28, 90, 484, 3_095, 11_386, 22_677, 64_882),
}
SHARES = (0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)

SLEEP_ROW = '[[jobs.rows]]\ntype = "sleep"\n'


@pytest.fixture(scope="module")
def types() -> Catalogue:
    return load_catalogue(settings.JOB_TYPES)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Workload]:
    """Reads this text as a workload file."""

    def _read(text: str, name: str = "mine.toml") -> Workload:
        (tmp_path / name).write_text(text)
        return read_workload(name, tmp_path)

    return _read


def jobs_of(workload: Workload, count: int = 2_000, seed: int = 5) -> list[Any]:
    return [workload.job(seed, Arrival(number, START)) for number in range(count)]


# --- profiles -------------------------------------------------------------------------------------


def test_these_profiles_are_there() -> None:
    assert profile_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_job_of_a_profile_is_one_that_its_type_takes(types: Catalogue, name: str) -> None:
    workload = read_workload(name, Path())

    check_types(workload, types)

    for job in jobs_of(workload, 300):
        params = parse_params(types[job.type], job.params)
        assert types[job.type].gpu_memory_mib(params) < MEMORY_TOTAL_MIB
        assert types[job.type].duration_seconds(params) < TIME_LIMIT_MAX_SECONDS


@pytest.mark.parametrize("name", sorted(QUANTILES))
def test_a_profile_of_a_cluster_says_where_it_comes_from_and_loads_eight_gpus(name: str) -> None:
    text = (PROFILE_FOLDER / f"{name}.toml").read_text()
    seconds = [job.params["seconds"] for job in jobs_of(read_workload(name, Path()), 20_000)]

    assert "source = " in text
    assert sum(seconds) / len(seconds) == pytest.approx(24, rel=0.06)
    assert max(seconds) == 600


@pytest.mark.parametrize("name", sorted(QUANTILES))
def test_drawn_durations_have_the_published_quantiles(name: str) -> None:
    rng, cdf = Random(7), DURATIONS[name]
    drawn = sorted(cdf.draw(rng) for _ in range(40_000))

    for share, published in zip(SHARES, QUANTILES[name], strict=True):
        # The draw's own error is taken on the axis of shares: the tail's seconds are a hundred times as wide.
        below = sum(value <= published for value in drawn) / len(drawn)
        assert below == pytest.approx(share, abs=4 * (share * (1 - share) / len(drawn)) ** 0.5 + 0.002), share
        assert cdf.at(share) == pytest.approx(published, rel=0.01, abs=0.51), share


def test_a_table_is_inverted_in_log_space() -> None:
    cdf = Cdf(values=[1, 100, 10_000], percent=[0, 50, 100])

    assert [cdf.at(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx([1, 10, 100, 1_000, 10_000])


def test_a_table_may_stand_still() -> None:
    cdf = Cdf(values=[1, 2, 4], percent=[0, 100, 100])

    assert cdf.at(1.0) == 2


def test_scaled_durations_are_cut_at_both_ends() -> None:
    scaled = Scaled(cdf=Cdf(values=[1, 1e6], percent=[0, 100]), scale=0.01, longest=60)

    drawn = [scaled.draw(Random(number)) for number in range(500)]

    assert (min(drawn), max(drawn)) == (0.1, 60)


@pytest.mark.parametrize(
    ("values", "percent", "told"),
    [
        ([1, 2], [0, 50, 100], "lists of the same length"),
        ([0, 2], [0, 100], "must rise from above 0"),
        ([2, 2], [0, 100], "must rise from above 0"),
        ([1, 2], [1, 100], "must rise from 0 to 100"),
        ([1, 2, 3], [0, 101, 100], "must rise from 0 to 100"),
        ([1, float("inf")], [0, 100], "must rise"),
    ],
)
def test_a_table_that_is_no_distribution_is_refused(values: list[float], percent: list[float], told: str) -> None:
    with pytest.raises(MixInvalid, match=told):
        Cdf(values=values, percent=percent)


# --- own files ------------------------------------------------------------------------------------


def test_an_empty_file_is_the_demo(read: Callable[..., Workload]) -> None:
    workload = read("")

    assert workload.shape == Rated()
    assert workload.mix == read_workload("demo", Path()).mix


def test_json_says_the_same_as_toml(read: Callable[..., Workload]) -> None:
    toml = read('[arrivals]\nshape = "burst"\nbatch_mean = 4\n[jobs]\nmix = "philly"\nduration_scale = 0.5\n')
    as_json = {"arrivals": {"shape": "burst", "batch_mean": 4}, "jobs": {"mix": "philly", "duration_scale": 0.5}}

    found = read(json.dumps(as_json), "mine.json")

    assert (found.shape, found.mix, found.fingerprint) == (toml.shape, toml.mix, toml.fingerprint)
    assert found.shape == Rated(gaps=Batches(4.0))


def test_a_mix_takes_what_the_file_says_itself(read: Callable[..., Workload]) -> None:
    workload = read('[jobs]\nmix = "philly"\nduration_scale = 1\nlongest_seconds = 2700\n[jobs.priorities]\nlow = 1\n')

    seconds = sorted(job.params["seconds"] for job in jobs_of(workload))

    assert seconds[1_000] == pytest.approx(853, rel=0.15)
    assert seconds[-1] == 2_700
    assert workload.mix.priorities == {Priority.LOW: 1}


@pytest.mark.parametrize("written", ["low", "LOW", "Low"])
def test_priorities_are_read_in_any_case(read: Callable[..., Workload], written: str) -> None:
    workload = read(f"[jobs.priorities]\n{written} = 1\n")

    assert workload.mix.priorities == {Priority.LOW: 1}
    assert {job.priority.value for job in jobs_of(workload)} == {"low"}


def test_shapes_take_their_keys(read: Callable[..., Workload]) -> None:
    steady = read('[arrivals]\nshape = "steady"\n')
    weekly = read('[arrivals]\nshape = "weekly"\nbatch_mean = 3\nutc_offset_hours = 8\ntime_compression = 24\n')

    assert steady.shape == Rated(gaps=Even())
    assert isinstance(weekly.shape, Rated)
    assert isinstance(weekly.shape.clock, Cycle)
    assert (weekly.shape.gaps, weekly.shape.clock.utc_offset_hours, weekly.shape.clock.time_compression) == (
        Batches(3.0),
        8,
        24,
    )
    assert len(weekly.shape.clock.factors) == 168


def test_rows_may_have_spreads_of_every_kind(read: Callable[..., Workload], types: Catalogue) -> None:
    workload = read(
        SLEEP_ROW
        + "[jobs.rows.params]\n"
        + "seconds = { cdf = { values = [1, 10, 100], percent = [0, 90, 100] } }\n"
        + "memory_mib = { lognormal = { median = 500, sigma = 1, minimum = 100, maximum = 900 } }\n"
        + "load = { choice = { values = [0.2, 0.4], weights = [1, 3] } }\n"
        + "requested_gpus = { fixed = 2 }\n"
    )
    check_types(workload, types)

    jobs = jobs_of(workload)

    assert sum(job.params["seconds"] <= 10 for job in jobs) / len(jobs) == pytest.approx(0.9, abs=0.03)
    assert {job.params["load"] for job in jobs} == {0.2, 0.4}
    assert {job.params["requested_gpus"] for job in jobs} == {2}


def test_the_same_seed_makes_the_same_jobs(read: Callable[..., Workload]) -> None:
    text = '[jobs]\nmix = "helios"\n'

    assert jobs_of(read(text), 200) == jobs_of(read(text), 200)
    assert jobs_of(read(text), 200) != jobs_of(read(text), 200, seed=6)


def test_only_other_arrivals_have_another_fingerprint(read: Callable[..., Workload]) -> None:
    plain = read('[arrivals]\nshape = "poisson"\n').fingerprint

    assert read('title = "Mine"\n[arrivals]\nshape = "poisson"\n[jobs]\nmix = "pai"\n').fingerprint == plain
    assert read('[arrivals]\nshape = "steady"\n').fingerprint != plain


# --- replay ---------------------------------------------------------------------------------------

TRACE = "submitted,duration,gpus\n0,600,1\n60,60000,8\n"
REPLAY = '[arrivals]\nshape = "replay"\nfile = "trace.csv"\ntime_compression = 60\n'


def test_rows_of_a_trace_become_jobs_that_say_what_they_asked_for(
    read: Callable[..., Workload], tmp_path: Path, types: Catalogue
) -> None:
    (tmp_path / "trace.csv").write_text(TRACE)
    workload = read(REPLAY + "[jobs]\nlongest_seconds = 500\n")
    check_types(workload, types)

    due = workload.shape.due(START, Position(), seed=5, rate_per_minute=1.0)
    later = workload.shape.due(START + timedelta(seconds=1), due.position, seed=5, rate_per_minute=1.0)
    jobs = [workload.job(5, arrival) for arrival in (*due.arrivals, *later.arrivals)]

    assert [(job.type, job.params["seconds"], job.params["requested_gpus"]) for job in jobs] == [
        ("sleep", 10, 1),
        ("sleep", 500, 8),
    ]
    assert all(parse_params(types["sleep"], job.params).memory_mib >= 2_000 for job in jobs)


def test_a_trace_with_other_content_starts_again(read: Callable[..., Workload], tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(TRACE)
    before = read(REPLAY).fingerprint
    (tmp_path / "trace.csv").write_text(TRACE + "70,1,1\n")

    assert read(REPLAY).fingerprint != before


def test_the_load_of_a_shared_gpu_ranks_above_the_mix(read: Callable[..., Workload], tmp_path: Path) -> None:
    header = "num_gpu,gpu_milli,creation_time,scheduled_time,deletion_time\n"
    (tmp_path / "trace.csv").write_text(header + "1,330,0,0,60\n")
    workload = read(REPLAY + 'format = "openb"\n')

    assert isinstance(workload.shape, Replay)
    assert workload.job(5, Arrival(0, START, 0)).params["load"] == 0.33


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[arrivals\n", "mine.toml: is not TOML: "),
        ("[arivals]\n", "arivals: is unknown here; must be one of title, source, arrivals, jobs"),
        ("arrivals = 3\n", "arrivals: Input should be a valid dictionary"),
        (
            '[arrivals]\nshape = "gamma"\n',
            "arrivals.shape: 'gamma' is not one of steady, poisson, burst, daily, weekly, replay",
        ),
        ("[arrivals]\n", "arrivals.shape: None is not one of steady"),
        (
            '[arrivals]\nshape = "burst"\nmean = 3\n',
            "arrivals.mean: is unknown here; must be one of shape, batch_mean",
        ),
        (
            '[arrivals]\nshape = "burst"\nbatch_mean = 0.5\n',
            "arrivals.batch_mean: Input should be greater than or equal to 1",
        ),
        ('[arrivals]\nshape = "burst"\nbatch_mean = "3"\n', "arrivals.batch_mean: Input should be a valid number"),
        ('[arrivals]\nshape = "burst"\nbatch_mean = nan\n', "arrivals.batch_mean: "),
        ('[arrivals]\nshape = "daily"\nhour_factors = [1, 2]\n', "arrivals.hour_factors: List should have at least 24"),
        (f'[arrivals]\nshape = "daily"\nhour_factors = {[0] * 24}\n', "arrivals.hour_factors: all values are 0"),
        (
            f'[arrivals]\nshape = "weekly"\nweekday_factors = {[1, 1, 1, 1, 1, 1, -1]}\n',
            "arrivals.weekday_factors[6]: Input should be greater than or equal to 0",
        ),
        ('[arrivals]\nshape = "replay"\n', "arrivals.file: Field required"),
        ('[arrivals]\nshape = "replay"\nfile = "none.csv"\n', "none.csv: No such file"),
        (REPLAY + 'format = "slurm"\n', "arrivals.format: Input should be 'plain', 'philly', 'openb' or 'tiresias'"),
        (REPLAY + 'columns = { cpus = "x" }\n', "arrivals.columns.cpus: Input should be 'submitted'"),
        (
            REPLAY + 'columns = { gpus = "cards" }\n',
            "trace.csv: has no column 'cards' for 'gpus'; its columns are",
        ),
        (REPLAY.replace("60", "0"), "arrivals.time_compression: Input should be greater than 0"),
        (REPLAY + '[jobs]\nmix = "demo"\n', "jobs.rows[1].type: a replay makes jobs of type sleep, not 'compute'"),
        (REPLAY + "[jobs]\nduration_scale = 0.1\n", "jobs.duration_scale: a replay divides its durations by"),
        ('[jobs]\nmix = "borg"\n', "jobs.mix: 'borg' is not one of burst, daily, demo"),
        ('[jobs]\nmix = "demo"\n' + SLEEP_ROW, "jobs.mix: must not be set together with jobs.rows"),
        ("[jobs]\nlongest_seconds = 90000\n", f"less than or equal to {LONGEST_SECONDS_MAXIMUM}"),
        ("[jobs.priorities]\nurgent = 1\n", "jobs.priorities.urgent: Input should be 'critical', 'high', 'normal'"),
        ("[jobs.priorities]\nLOW = 1\nlow = 2\n", "jobs.priorities: low is given twice"),
        ("[jobs.priorities]\nlow = 0\n", "jobs: weights of priorities must be 0 or more, and one above 0"),
        (SLEEP_ROW + "weight = -1\n", "jobs.rows[0].weight: Input should be greater than or equal to 0"),
        ("[[jobs.rows]]\nweight = 1\n", "jobs.rows[0].type: Field required"),
        (
            SLEEP_ROW + "params.seconds = { normal = 3 }\n",
            "params.seconds: must be a value, or a table with one of lognormal, choice, durations, cdf, fixed",
        ),
        (
            SLEEP_ROW + 'params.seconds = { durations = "borg" }\n',
            "jobs.rows[0].params.seconds.durations: 'borg' is not one of seren, kalos, philly, helios, pai",
        ),
        (
            SLEEP_ROW + "params.seconds = { lognormal = { median = 1, sigma = 1, minimum = 2, maximum = 3 } }\n",
            "jobs.rows[0].params.seconds.lognormal: must have 0 < minimum <= median <= maximum, not 2, 1, 3",
        ),
        (
            SLEEP_ROW + "params.seconds = { choice = { values = [1], weights = [1, 2] } }\n",
            "jobs.rows[0].params.seconds.choice: 1 values have 2 weights",
        ),
        (
            SLEEP_ROW + "params.seconds = { cdf = { values = [1, 2], percent = [0, 99] } }\n",
            "jobs.rows[0].params.seconds.cdf: percent must rise from 0 to 100",
        ),
    ],
)
def test_an_error_names_file_key_and_accepted_values(
    read: Callable[..., Workload], tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "trace.csv").write_text(TRACE)

    with pytest.raises(EnvironmentInvalid) as caught:
        read(text)

    assert str(caught.value).startswith(f"GENERATOR_CONFIG: {tmp_path / 'mine.toml'}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('[[jobs.rows]]\ntype = "slep"\n', "jobs.rows[0].type: unknown job type 'slep'; must be one of compute"),
        (SLEEP_ROW + "params.secs = 3\n", "jobs.rows[0].params.secs: sleep has no such parameter; it accepts seconds"),
        (SLEEP_ROW + "params.load = 3\n", "jobs.rows[0].params.load: Input should be less than or equal to 1"),
        (
            SLEEP_ROW + "params.load = { lognormal = { median = 1, sigma = 1, minimum = 1, maximum = 2 } }\n",
            "jobs.rows[0].params.load: Input should be less than or equal to 1",
        ),
    ],
)
def test_a_row_that_its_type_would_refuse_is_reported_before_the_start(
    read: Callable[..., Workload], types: Catalogue, row: str, told: str
) -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        check_types(read(row), types)

    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("borg", "GENERATOR_CONFIG: 'borg': must be one of burst, daily, demo, helios"),
        ("workload.yaml", "GENERATOR_CONFIG: 'workload.yaml': must be one of"),
        ("none.toml", "none.toml: cannot be read: No such file or directory"),
    ],
)
def test_a_workload_that_is_not_there_is_reported_with_those_that_are(tmp_path: Path, wanted: str, told: str) -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        read_workload(wanted, tmp_path)

    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "{", "NaN", '"text"'])
def test_json_that_holds_no_table_is_refused(read: Callable[..., Workload], text: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"mine\.json: "):
        read(text, "mine.json")
