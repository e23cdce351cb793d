from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.rules.job_limits import TIME_LIMIT_MAX_SECONDS, NoTimeSpan, parse_time_span, time_span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1_800), ("4h", 14_400), ("14d", 1_209_600), ("00:00:05", 5), ("100:00:00", 360_000)],
)
def test_a_time_span_is_read(text: str, seconds: int) -> None:
    assert parse_time_span(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1.5h", "1h30m", "-4h", "4 h", "1:2:3", "00:60:00", "fortnight", "²d"])
def test_a_text_that_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(NoTimeSpan, match="such as 90s, 30m, 4h, 14d or HH:MM:SS"):
        parse_time_span(text)


def test_a_number_without_its_unit_is_refused_with_what_it_may_mean() -> None:
    with pytest.raises(NoTimeSpan, match="'30' has no unit: 30s are seconds, 30m minutes, 30h hours, 30d days"):
        parse_time_span("30")


@given(st.integers(min_value=1, max_value=999_999_999))
def test_a_time_span_that_is_shown_can_be_read_again(seconds: int) -> None:
    assert parse_time_span(time_span(seconds)) == seconds


def test_the_longest_time_limit_is_fourteen_days() -> None:
    assert time_span(TIME_LIMIT_MAX_SECONDS) == "14d"
