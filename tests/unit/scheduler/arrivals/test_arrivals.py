from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import exp, sqrt
from statistics import correlation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.arrivals.dice import LONGEST_UNIT_GAP, share, unit_gap
from scheduler.arrivals.rated import Rated
from scheduler.arrivals.shape import Arrival, Due, Position

START = datetime(2026, 3, 1, tzinfo=UTC)
POISSON = Rated()


def tick(at: datetime, before: Due | None, *, rate: float = 12.0, seed: int = 5) -> Due:
    """One tick that goes on from the tick before it."""
    return POISSON.due(at, before.position if before else Position(), seed=seed, rate_per_minute=rate)


def run(seconds: list[float], *, rate: float, seed: int = 5) -> list[Arrival]:
    """All arrivals found by ticks at these seconds after START."""
    due, found = tick(START, None, rate=rate, seed=seed), []
    for second in seconds:
        due = tick(START + timedelta(seconds=second), due, rate=rate, seed=seed)
        found += due.arrivals
    return found


@pytest.mark.parametrize("rate", [0.1, 2.0, 12.0, 50.0, 3_000.0])
def test_the_number_made_in_any_five_minutes_fits_the_rate(rate: float) -> None:
    windows = 20

    made = run([float(second) for second in range(1, windows * 300 + 1)], rate=rate)

    mean = rate * 5
    counts = [0] * windows
    for arrival in made:
        counts[int((arrival.at - START).total_seconds() // 300)] += 1
    assert all(abs(count - mean) <= 4 * sqrt(mean) + 3 for count in counts), counts
    assert abs(len(made) - windows * mean) <= 4 * sqrt(windows * mean)


def test_the_ceiling_of_100_000_a_minute_is_reached() -> None:
    made = run([float(second) for second in range(1, 61)], rate=100_000.0)

    assert abs(len(made) - 100_000) <= 4 * sqrt(100_000)


@given(cuts=st.lists(st.floats(min_value=0.0, max_value=60.0), max_size=30), rate=st.sampled_from([1.0, 12.0, 500.0]))
def test_cutting_the_ticks_differently_gives_the_same_arrivals(cuts: list[float], rate: float) -> None:
    every_ten_seconds = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]

    assert run(sorted([*cuts, *every_ten_seconds]), rate=rate) == run(every_ten_seconds, rate=rate)


def test_a_tick_that_is_repeated_at_the_same_instant_finds_nothing_new() -> None:
    due = tick(START + timedelta(seconds=10), tick(START, None, rate=600.0), rate=600.0)

    again = tick(START + timedelta(seconds=10), due, rate=600.0)

    assert due.arrivals
    assert again == Due(arrivals=(), position=due.position)


def pending(due: Due) -> datetime:
    assert due.position.next_at is not None
    return due.position.next_at


def test_an_arrival_is_due_at_its_own_instant_and_not_before() -> None:
    first = tick(START, None)

    just_before = tick(pending(first) - timedelta(microseconds=1), first)
    just_then = tick(pending(first), first)

    assert just_before.arrivals == ()
    assert just_then.arrivals == (Arrival(0, pending(first)),)


def test_a_position_kept_as_text_with_microseconds_goes_on_exactly() -> None:
    due = tick(START, None, rate=777.7)

    next_at = datetime.fromisoformat(pending(due).isoformat())
    kept = Due(arrivals=(), position=Position(draws=due.position.draws, next_at=next_at))

    later = START + timedelta(seconds=9)
    assert tick(later, kept, rate=777.7) == tick(later, due, rate=777.7)


def test_arrivals_come_in_order_and_are_numbered_without_a_gap() -> None:
    made = run([15.0, 30.0, 45.0, 60.0], rate=1_000.0)

    assert [arrival.number for arrival in made] == list(range(len(made)))
    assert all(earlier.at <= later.at for earlier, later in pairwise(made))


def test_gaps_are_exponential_with_mean_one() -> None:
    gaps = sorted(unit_gap(5, draw) for draw in range(20_000))

    n = len(gaps)
    distance = max(max((k + 1) / n - (1 - exp(-gap)), (1 - exp(-gap)) - k / n) for k, gap in enumerate(gaps))
    assert distance < 1.63 / sqrt(n)  # Kolmogorov-Smirnov, 1 % level


@pytest.mark.parametrize("lag", [1, 2, 7])
def test_gaps_do_not_depend_on_those_before_them(lag: int) -> None:
    gaps = [unit_gap(5, draw) for draw in range(20_000)]

    assert abs(correlation(gaps[lag:], gaps[:-lag])) < 4 / sqrt(len(gaps))


def test_seeds_beside_each_other_give_unrelated_gaps() -> None:
    of_one, of_next = ([unit_gap(seed, draw) for draw in range(20_000)] for seed in (5, 6))

    assert abs(correlation(of_one, of_next)) < 4 / sqrt(len(of_one))
    assert abs(correlation(of_one[1:], of_next[:-1])) < 4 / sqrt(len(of_one))


@given(seed=st.integers(0, 2**63 - 1), draw=st.integers(0, 2**63 - 1))
def test_every_gap_is_finite_and_bounded(seed: int, draw: int) -> None:
    assert 0.0 <= unit_gap(seed, draw) <= LONGEST_UNIT_GAP


def test_the_first_gaps_of_a_seed_never_change() -> None:
    assert [round(unit_gap(5, draw), 6) for draw in range(3)] == [0.020365, 2.245554, 0.146341]


def test_shares_are_uniform_and_unrelated_to_the_gaps() -> None:
    shares = [share(5, draw) for draw in range(20_000)]

    assert abs(sum(shares) / len(shares) - 0.5) < 4 / sqrt(12 * len(shares))
    assert abs(sum(part < 0.1 for part in shares) - 2_000) < 4 * sqrt(1_800)
    assert abs(correlation(shares, [unit_gap(5, draw) for draw in range(20_000)])) < 4 / sqrt(len(shares))


def test_a_changed_rate_redraws_the_next_arrival_from_now() -> None:
    slow = tick(START, None, rate=0.1)
    changed_at = START + timedelta(seconds=1)

    fast = tick(changed_at, slow, rate=6_000.0)

    assert pending(slow) > changed_at + timedelta(seconds=10)
    assert changed_at < pending(fast) < changed_at + timedelta(seconds=1)
    assert fast.position.draws == slow.position.draws + 1


def test_a_rate_changed_every_second_still_makes_jobs_at_that_rate() -> None:
    made, due = 0, tick(START, None, rate=30.0)
    for second in range(1, 2_001):
        due = tick(START + timedelta(seconds=second), due, rate=30.0 + 1e-6 * (second % 2))
        made += len(due.arrivals)
        due = tick(START + timedelta(seconds=second, microseconds=999_999), due, rate=30.0 + 1e-6 * (second % 2))
        made += len(due.arrivals)

    assert abs(made - 1_000) <= 4 * sqrt(1_000)


def test_nothing_is_made_up_for_after_a_pause() -> None:
    due = tick(START, None, rate=600.0)
    resumed_at = START + timedelta(seconds=10)

    kept = POISSON.paused(START, due.position)
    after = POISSON.due(resumed_at, POISSON.paused(resumed_at, kept), seed=5, rate_per_minute=600.0)

    assert kept.next_at is None
    assert after.arrivals == ()
    assert pending(after) > resumed_at


def test_after_hours_without_a_tick_only_the_last_seconds_are_made_up_for() -> None:
    first = tick(START, None, rate=600.0)
    back = START + timedelta(hours=5)

    due = tick(back, first, rate=600.0)

    assert all(back - timedelta(seconds=15) < arrival.at <= back for arrival in due.arrivals)
    assert abs(len(due.arrivals) - 150) <= 4 * sqrt(150)
    assert pending(due) > back


def test_a_clock_that_was_set_back_by_a_day_does_not_stop_the_arrivals() -> None:
    due = tick(START + timedelta(days=1), None, rate=12.0)

    after = tick(START, due, rate=12.0)

    assert START < pending(after) < START + timedelta(minutes=4)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_above_zero_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate_per_minute"):
        tick(START, None, rate=rate)
