"""The shapes of arrivals: as many as the rate says, and spread as they should be."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from math import sqrt
from statistics import fmean, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.arrivals.clocks import EPOCH, Cycle, week
from scheduler.arrivals.gaps import Batches, Even
from scheduler.arrivals.rated import Rated
from scheduler.arrivals.replay import Replay, Trace
from scheduler.arrivals.shape import Arrival, Position, Shape
from scheduler.workloads.tables import HELIOS_HOURS, HELIOS_WEEKDAYS

#: A Monday, eight o'clock.
START = EPOCH + timedelta(weeks=2930, hours=8)
BATCH_MEAN = 8.2

DAY = Cycle(factors=HELIOS_HOURS)
WEEK = Cycle(factors=week(HELIOS_HOURS, HELIOS_WEEKDAYS))
TRACE = Trace(
    offsets_us=array("q", [k * 40_000_000 + k % 7 * 1_000 for k in range(20_000)]),
    seconds=array("d", [60.0] * 20_000),
    gpus=array("l", [1] * 20_000),
)
SHAPES: dict[str, Shape] = {
    "steady": Rated(gaps=Even()),
    "poisson": Rated(),
    "burst": Rated(gaps=Batches(BATCH_MEAN)),
    "daily": Rated(clock=DAY),
    "weekly": Rated(clock=WEEK),
    "weekly in batches": Rated(clock=WEEK, gaps=Batches(BATCH_MEAN)),
    "replay": Replay(trace=TRACE, time_compression=10.0),
}

any_shape = pytest.mark.parametrize("name", SHAPES)


def seconds_of(seconds: float, step: float = 1.0) -> Iterable[datetime]:
    return (START + timedelta(seconds=k * step) for k in range(int(seconds / step) + 1))


def run(
    shape: Shape, instants: Iterable[datetime], *, rate: float = 12.0, seed: int = 5, at_most: int | None = None
) -> list[Arrival]:
    """All arrivals that ticks at these instants find; each tick goes on until it finds less than `at_most`."""
    position, found = Position(), []
    for now in instants:
        while True:
            due = shape.due(now, position, seed=seed, rate_per_minute=rate, at_most=at_most)
            found += due.arrivals
            position = due.position
            if at_most is None or len(due.arrivals) < at_most:
                break
    return found


def constant(_: datetime) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("name", "rate", "factor_at", "dispersion"),
    [
        ("steady", 12.0, constant, 0.0),
        ("poisson", 12.0, constant, 1.0),
        ("poisson", 50.0, constant, 1.0),
        ("burst", 12.0, constant, 2 * BATCH_MEAN - 1),
        ("burst", 50.0, constant, 2 * BATCH_MEAN - 1),
        ("daily", 12.0, DAY.factor_at, 1.0),
        ("weekly", 12.0, WEEK.factor_at, 1.0),
        ("weekly in batches", 12.0, WEEK.factor_at, 2 * BATCH_MEAN - 1),
    ],
)
def test_ten_hours_make_as_many_jobs_as_the_rate_says(
    name: str,
    rate: float,
    factor_at: Callable[[datetime], float],
    dispersion: float,
) -> None:
    made = len(run(SHAPES[name], seconds_of(36_000), rate=rate))

    expected = sum(60 * rate * factor_at(START + timedelta(hours=hour)) for hour in range(10))
    print(f"ten hours of {name}, {rate:g} jobs / min: expected {expected:.0f}, made {made}")
    assert abs(made - expected) <= 4 * sqrt(dispersion * expected) + 1e-6


def test_ten_hours_of_a_trace_make_every_row_that_is_due() -> None:
    made = run(SHAPES["replay"], seconds_of(36_000))

    expected = sum(offset <= 36_000 * 10 * 1_000_000 for offset in TRACE.offsets_us)
    print(f"ten hours of replay: expected {expected}, made {len(made)}")
    assert [arrival.row for arrival in made] == list(range(expected))


def test_steady_gaps_are_equal() -> None:
    gaps = {later.at - earlier.at for earlier, later in pairwise(run(SHAPES["steady"], seconds_of(600), rate=24.0))}

    assert gaps == {timedelta(seconds=2.5)}


@any_shape
def test_the_same_seed_makes_the_same_arrivals(name: str) -> None:
    once, again = (run(SHAPES[name], seconds_of(600), rate=60.0) for _ in range(2))

    assert len(once) > 100
    assert once == again


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in {"steady", "replay"}])
def test_another_seed_makes_others(name: str) -> None:
    assert run(SHAPES[name], seconds_of(600)) != run(SHAPES[name], seconds_of(600), seed=6)


@any_shape
@given(cuts=st.lists(st.floats(min_value=0.0, max_value=60.0), max_size=30), at_most=st.sampled_from([1, 3, 250, None]))
def test_cutting_the_ticks_differently_gives_the_same_arrivals(
    name: str, cuts: list[float], at_most: int | None
) -> None:
    every_ten_seconds = list(seconds_of(60, step=10))
    instants = sorted([*every_ten_seconds, *(START + timedelta(seconds=cut) for cut in cuts)])

    cut = run(SHAPES[name], instants, rate=120.0, at_most=at_most)

    assert cut == run(SHAPES[name], every_ten_seconds, rate=120.0)


@any_shape
def test_a_tick_that_is_repeated_finds_nothing_new(name: str) -> None:
    shape = SHAPES[name]
    due = shape.due(START, Position(), seed=5, rate_per_minute=600.0)
    due = shape.due(START + timedelta(seconds=14), due.position, seed=5, rate_per_minute=600.0)

    again = shape.due(START + timedelta(seconds=14), due.position, seed=5, rate_per_minute=600.0)

    assert due.arrivals
    assert (again.arrivals, again.position) == ((), due.position)


@any_shape
def test_a_pause_makes_nothing_and_leaves_nothing_to_make_up_for(name: str) -> None:
    shape, position = SHAPES[name], Position()
    for now in seconds_of(60):
        position = shape.due(now, position, seed=5, rate_per_minute=60.0).position
    paused_at, resumed_at = START + timedelta(seconds=60), START + timedelta(hours=2)

    kept = shape.paused(paused_at, position)
    after = shape.due(resumed_at, shape.paused(resumed_at, kept), seed=5, rate_per_minute=60.0)

    assert kept == shape.paused(resumed_at, kept)
    assert kept.next_at is None
    assert after.arrivals == ()


# --- bursts ---------------------------------------------------------------------------------------


def test_counts_of_bursts_spread_as_those_of_the_trace_do() -> None:
    """Helios, cluster Venus: counts in 10 minutes have a variance of 15.4 times their mean."""
    windows = Counter(
        int((arrival.at - START).total_seconds() // 600) for arrival in run(SHAPES["burst"], seconds_of(600_000, 10))
    )
    counts = [windows[k] for k in range(1_000)]

    assert fmean(counts) == pytest.approx(120, rel=0.07)
    assert variance(counts) / fmean(counts) == pytest.approx(2 * BATCH_MEAN - 1, rel=0.25)


def test_counts_of_the_poisson_shape_have_their_mean_as_variance() -> None:
    windows = Counter(
        int((arrival.at - START).total_seconds() // 600) for arrival in run(SHAPES["poisson"], seconds_of(600_000, 10))
    )
    counts = [windows[k] for k in range(1_000)]

    assert variance(counts) / fmean(counts) == pytest.approx(1.0, rel=0.2)


def test_batches_come_at_one_instant_and_have_geometric_sizes() -> None:
    sizes = Counter(arrival.at for arrival in run(SHAPES["burst"], seconds_of(36_000), rate=120.0)).values()

    n, p = len(sizes), 1 / BATCH_MEAN
    assert fmean(sizes) == pytest.approx(BATCH_MEAN, abs=4 * sqrt((1 - p) / p**2 / n))
    for size in (1, 2, 5):
        share = p * (1 - p) ** (size - 1)
        assert abs(sum(found == size for found in sizes) - n * share) <= 4 * sqrt(n * share * (1 - share))


def test_a_rate_that_changes_in_every_second_does_not_add_batches() -> None:
    """A batch that a change cut short must not be opened again: half of the jobs would be too many."""
    shape, position, made = SHAPES["burst"], Position(), 0
    for second, now in enumerate(seconds_of(6_000)):
        due = shape.due(now, position, seed=5, rate_per_minute=60.0 + 1e-6 * (second % 2))
        position, made = due.position, made + len(due.arrivals)
        late = now + timedelta(microseconds=999_999)
        due = shape.due(late, position, seed=5, rate_per_minute=60.0 + 1e-6 * (second % 2))
        position, made = due.position, made + len(due.arrivals)

    assert abs(made - 6_000) <= 4 * sqrt(6_000 * (2 * BATCH_MEAN - 1))


# --- day and week ---------------------------------------------------------------------------------


def test_each_hour_of_the_day_has_its_share() -> None:
    start_of_day = START - timedelta(hours=8)
    ticks = (start_of_day + timedelta(seconds=10 * k) for k in range(10 * 8_640 + 1))
    hours = Counter(arrival.at.hour for arrival in run(SHAPES["daily"], ticks))

    for hour, factor in enumerate(HELIOS_HOURS):
        expected = 10 * 720 * factor / fmean(HELIOS_HOURS)
        assert abs(hours[hour] - expected) <= 4 * sqrt(expected), hour


def test_each_day_of_the_week_has_its_share() -> None:
    start_of_week = START - timedelta(hours=8)
    ticks = (start_of_week + timedelta(seconds=10 * k) for k in range(7 * 8_640 + 1))
    days = Counter(arrival.at.weekday() for arrival in run(SHAPES["weekly"], ticks))

    for day, factor in enumerate(HELIOS_WEEKDAYS):
        expected = 17_280 * factor / fmean(HELIOS_WEEKDAYS)
        assert abs(days[day] - expected) <= 4 * sqrt(expected), day


def test_a_compressed_day_passes_in_an_hour() -> None:
    fast = Cycle(factors=HELIOS_HOURS, time_compression=24.0)

    quarter_past = [fast.factor_at(EPOCH + timedelta(hours=1000, minutes=2.5 * k + 1)) for k in range(24)]

    assert quarter_past == pytest.approx([factor / fmean(HELIOS_HOURS) for factor in HELIOS_HOURS])


def test_the_day_begins_at_the_offset() -> None:
    in_china = Cycle(factors=HELIOS_HOURS, utc_offset_hours=8.0)

    assert in_china.factor_at(START) == DAY.factor_at(START + timedelta(hours=8))


def test_an_hour_of_factor_zero_makes_nothing() -> None:
    shape = Rated(clock=Cycle(factors=[0.0 if 10 <= hour < 12 else 1.0 for hour in range(24)]))

    made = Counter(arrival.at.hour for arrival in run(shape, seconds_of(5 * 3_600)))

    assert (made[10], made[11]) == (0, 0)
    assert min(made[8], made[9], made[12]) > 600


@given(
    at=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001
    seconds=st.floats(0, 1e6),
    compression=st.sampled_from([1.0, 24.0, 168.0]),
    offset=st.sampled_from([0.0, 5.5, -8.0]),
)
def test_the_clock_of_a_week_is_the_inverse_of_its_summed_rate(
    at: datetime, seconds: float, compression: float, offset: float
) -> None:
    clock = Cycle(factors=WEEK.factors, utc_offset_hours=offset, time_compression=compression)
    begin = at.replace(tzinfo=EPOCH.tzinfo)

    end = clock.after(begin, seconds)

    whole = 7 * 86_400 / compression
    assert end >= begin
    assert abs((end - begin).total_seconds() - seconds) <= whole
    # Another road there: half the way, then the rest. Rounding is a microsecond at the factor of each leg.
    halfway = clock.after(clock.after(begin, seconds / 2), seconds / 2)
    assert abs((halfway - end).total_seconds()) <= 1e-6 * (1 + max(HELIOS_HOURS) / min(HELIOS_HOURS) * 2) + 1e-4
