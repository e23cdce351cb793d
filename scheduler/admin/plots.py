"""Plots as SVG text, so that the page needs no script. Pure. The stylesheet of the page sets the colours by class;
each plot has a title and a description for screen readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from math import ceil, floor, log10
from typing import Final

from scheduler.admin.rates import Share

#: In units of the view box, about one pixel each.
WIDTH: Final = 420
ROW: Final = 26
AXIS: Final = 24
LETTER: Final = 6.6
#: Of the plot over time.
WIDE: Final = 900
HIGH: Final = 220


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotRow:
    """One row of a plot: a share with its interval, and the expected share, if known."""

    label: str
    share: Share | None
    expected: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    at: datetime
    share: Share | None


def percent(share: float) -> str:
    """At most three significant digits: 7.25 %, 0.05 %, 12.5 %, 100 %."""
    value = share * 100
    digits = 2 if value < 10 else 1
    text = f"{value:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.')} %"


def intervals(name: str, title: str, description: str, rows: Sequence[PlotRow]) -> str:
    """For each row the interval as a bar, the rate as a dot, the expected rate as a notch."""
    left = max((len(row.label) for row in rows), default=0) * LETTER + 14
    right = WIDTH - 64
    top = ceiling(value for row in rows for value in (row.share.high if row.share else 0.0, row.expected or 0.0))
    height = len(rows) * ROW + AXIS

    def x(value: float) -> float:
        return left + (right - left) * value / top

    parts = list(_vertical_grid(top, x, height - AXIS))
    for index, row in enumerate(rows):
        y = index * ROW + ROW / 2
        parts.append(_text(left - 10, y + 4, row.label, "label end"))
        if row.share is None:
            parts.append(_text(left + 4, y + 4, "no attempt ended", "quiet"))
            continue
        parts.append(_line(x(row.share.low), y, x(row.share.high), y, "interval"))
        if row.expected is not None:
            parts.append(_line(x(row.expected), y - 9, x(row.expected), y + 9, "expected"))
        parts.append(f'<circle class="rate" cx="{x(row.share.rate):.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(_text(WIDTH - 2, y + 4, percent(row.share.rate), "value end"))
    return _svg(name, title, description, WIDTH, height, parts)


def bars(name: str, title: str, description: str, rows: Sequence[tuple[str, int]]) -> str:
    """A bar for each label, with its count."""
    left = max((len(label) for label, _ in rows), default=0) * LETTER + 14
    most = max((n for _, n in rows), default=1) or 1
    right = WIDTH - 64
    parts: list[str] = []
    for index, (label, n) in enumerate(rows):
        y = index * ROW + ROW / 2
        width = max(1.0, (right - left) * n / most)
        parts.append(_text(left - 10, y + 4, label, "label end"))
        parts.append(f'<rect class="bar" x="{left:.1f}" y="{y - 7:.1f}" width="{width:.1f}" height="14" rx="2"/>')
        parts.append(_text(WIDTH - 2, y + 4, f"{n:,}", "value end"))
    return _svg(name, title, description, WIDTH, max(len(rows), 1) * ROW, parts)


def over_time(name: str, title: str, description: str, points: Sequence[RatePoint], step: timedelta) -> str:
    """The rate as a line through the middle of each step, its interval as a band. A step in which no attempt ended is a
    gap."""
    left, right, bottom = 48.0, WIDE - 8.0, HIGH - 24.0
    shares = [point.share for point in points if point.share]
    # The interval of a step with few attempts may reach 100 %; it must not flatten all the others.
    tops = [max(share.rate for share in shares) * 1.25, _median([share.high for share in shares])] if shares else []
    top = ceiling(tops)
    width = (right - left) / (len(points) or 1)

    def x(index: int) -> float:
        return left + width * (index + 0.5)

    def y(value: float) -> float:
        return bottom - (bottom - 10) * min(value / top, 1.0)

    parts = []
    for value in _ticks(top):
        parts.append(_line(left, y(value), right, y(value), "grid"))
        parts.append(_text(left - 8, y(value) + 4, percent(value), "tick end"))
    for index, label in _times(points, step):
        parts.append(_text(x(index), HIGH - 6, label, "tick middle"))
    for run in _runs(points):
        middle = [(x(index), share) for index, share in run]
        if len(middle) == 1:
            (only, share), half = middle[0], width / 2
            corners = [(only - half, share.high), (only + half, share.high), (only + half, share.low)]
            edge = [(at, y(value)) for at, value in [*corners, (only - half, share.low)]]
            parts.append(f'<polygon class="band" points="{_pairs(edge)}"/>')
        else:
            edge = [(at, y(share.high)) for at, share in middle] + [(at, y(share.low)) for at, share in middle[::-1]]
            parts.append(f'<polygon class="band" points="{_pairs(edge)}"/>')
            parts.append(f'<polyline class="line" points="{_pairs([(at, y(share.rate)) for at, share in middle])}"/>')
        if len(points) <= 48:
            parts += [f'<circle class="rate" cx="{at:.1f}" cy="{y(share.rate):.1f}" r="3"/>' for at, share in middle]
    return _svg(name, title, description, WIDE, HIGH, parts)


def ceiling(values: Iterable[float]) -> float:
    """The end of an axis from 0: the next round share above every value, at most 1."""
    most = max([0.01, *values])
    unit: float = 10 ** floor(log10(most))
    return min(1.0, next(step * unit for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * unit >= most - 1e-12))


def _ticks(top: float) -> list[float]:
    parts = next(parts for parts in (4, 5, 3, 2) if round(top * 1000) % parts == 0 or parts == 2)
    return [top * index / parts for index in range(parts + 1)]


def _vertical_grid(top: float, x: Callable[[float], float], bottom: float) -> Iterator[str]:
    for value in _ticks(top):
        at = x(value)
        yield _line(at, 0, at, bottom, "grid")
        yield _text(at, bottom + 16, percent(value), "tick middle")


def _runs(points: Sequence[RatePoint]) -> Iterator[list[tuple[int, Share]]]:
    run: list[tuple[int, Share]] = []
    for index, point in enumerate(points):
        if point.share is not None:
            run.append((index, point.share))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _times(points: Sequence[RatePoint], step: timedelta) -> list[tuple[int, str]]:
    every = max(1, ceil(len(points) / 8))
    form = "%H:%M" if step < timedelta(days=1) and len(points) <= 48 else "%d %b"
    return [(index, points[index].at.strftime(form)) for index in range(every // 2, len(points), every)]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _pairs(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _svg(name: str, title: str, description: str, width: int, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg class="plot" role="img" aria-labelledby="{name}-title {name}-desc" viewBox="0 0 {width} {height:.0f}">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )
