from __future__ import annotations

import pytest

from scheduler.rules.moments import Reading, age, set_by


def reading(monotonic: float, at: float, *, took: float = 0.0) -> Reading:
    return Reading(asked=monotonic, at=at, answered=monotonic + took)


@pytest.mark.parametrize(("at", "expected"), [(90.0, 10.0), (100.0, 0.0), (100.9, 0.0), (101.1, None), (3700.0, None)])
def test_a_moment_in_the_future_has_no_age(at: float, expected: float | None) -> None:
    assert age(100.0, at) == expected


@pytest.mark.parametrize("moved", [-3600.0, -2.5, 2.5, 3600.0])
def test_a_clock_that_was_set_is_noticed_with_its_distance(moved: float) -> None:
    assert set_by(reading(10.0, 500.0), reading(10.5, 500.5 + moved)) == pytest.approx(moved)


@pytest.mark.parametrize("moved", [0.0, 1.0, -1.0])
def test_a_small_step_is_not_one(moved: float) -> None:
    assert set_by(reading(10.0, 500.0), reading(10.5, 500.5 + moved)) == 0.0


@pytest.mark.parametrize("answered_after", [0.0, 7.0])
def test_a_slow_answer_does_not_look_like_a_clock_that_was_set(answered_after: float) -> None:
    """It may have been read at the begin of the query, or at its end."""
    slow = reading(11.0, 501.0 + answered_after, took=7.0)

    assert set_by(reading(10.0, 500.0), slow) == 0.0
    assert set_by(slow, reading(19.0, 509.0)) == 0.0


def test_a_clock_that_ntp_slews_was_not_set() -> None:
    day = 86_400.0

    assert set_by(reading(0.0, 0.0), reading(day, day * 1.0005)) == 0.0
