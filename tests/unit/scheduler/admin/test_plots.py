"""Plots are complete SVG with a title and a description for screen readers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from scheduler.admin import plots
from scheduler.admin.plots import PlotRow, RatePoint, ceiling, percent
from scheduler.admin.rates import Share, wilson

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def intervals(*rows: PlotRow) -> ET.Element:
    return ET.fromstring(plots.intervals("p", "Rates", "GPU 0: 5 %", rows))


def over_time(*shares: Share | None) -> ET.Element:
    points = [RatePoint(at=START + index * HOUR, share=share) for index, share in enumerate(shares)]
    return ET.fromstring(plots.over_time("p", "Rates", "flat", points, HOUR))


def of_class(plot: ET.Element, kind: str) -> list[ET.Element]:
    return [each for each in plot.iter() if kind in each.get("class", "").split()]


def test_a_plot_is_an_image_named_by_its_title_and_description():
    plot = intervals()

    assert (plot.get("role"), plot.get("aria-labelledby")) == ("img", "p-title p-desc")
    assert (plot.find("title").text, plot.find("desc").text) == ("Rates", "GPU 0: 5 %")


def test_the_dot_lies_on_its_interval_and_the_expected_notch_where_it_should():
    plot = intervals(PlotRow(label="a", share=Share(0.05, 0.02, 0.10), expected=0.10))

    (interval,), (rate,), (expected,) = (of_class(plot, kind) for kind in ("interval", "rate", "expected"))
    assert float(interval.get("x1")) < float(rate.get("cx")) < float(interval.get("x2"))
    assert expected.get("x1") == interval.get("x2")


def test_a_row_without_an_end_says_so():
    plot = intervals(PlotRow(label="GPU 7", share=None))

    assert "no attempt ended" in ET.tostring(plot, encoding="unicode")
    assert of_class(plot, "rate") == []


def test_a_label_cannot_break_out_of_the_plot():
    plot = intervals(PlotRow(label="<script>&", share=None))

    assert not list(plot.iter("script"))
    assert "<script>&" in [each.text for each in plot.iter("text")]


def test_bars_are_as_long_as_their_counts():
    plot = ET.fromstring(plots.bars("p", "Reasons", "two", [("often", 400), ("seldom", 100)]))

    often, seldom = (float(bar.get("width")) for bar in of_class(plot, "bar"))
    assert often == pytest.approx(4 * seldom, rel=0.01)


def test_an_hour_without_an_end_is_a_gap_in_the_line():
    share = wilson(1, 20)

    plot = over_time(share, share, None, share, share)

    assert len(of_class(plot, "line")) == 2


def test_a_lone_hour_has_a_band_too():
    plot = over_time(None, wilson(1, 20), None)

    assert len(of_class(plot, "band")) == 1


def test_an_uncertain_hour_does_not_flatten_the_others():
    plot = over_time(*[wilson(50, 1000)] * 9, wilson(0, 1))

    heights = [float(dot.get("cy")) for dot in of_class(plot, "rate")]
    assert heights[0] < plots.HIGH * 0.6


@pytest.mark.parametrize("points", [[], [None, None]])
def test_a_plot_of_nothing_is_a_plot(points):
    assert of_class(over_time(*points), "line") == []


@pytest.mark.parametrize(
    ("most", "end"), [(0.0, 0.01), (0.012, 0.02), (0.07, 0.08), (0.41, 0.5), (0.97, 1.0), (1.0, 1.0)]
)
def test_an_axis_ends_at_a_round_share(most, end):
    assert ceiling([most]) == pytest.approx(end)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (0.0725, "7.25 %"), (0.125, "12.5 %"), (1.0, "100 %"), (0.0004, "0.04 %"), (0.1, "10 %")],
)
def test_a_share_reads_with_the_digits_that_tell_something(share, words):
    assert percent(share) == words
