"""Failure rates in the admin: the roll-up of a window as plots and tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.db.models import Min, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import mark_safe

from scheduler.admin import plots
from scheduler.admin.lists import ListAdmin
from scheduler.admin.plots import PlotRow, RatePoint
from scheduler.admin.rates import Attempts, Counted, Share, Summary, summarise, wilson
from scheduler.jobs.clock import database_now
from scheduler.jobs.rollup import NO_GPU
from scheduler.models import Gpu, Rollup
from scheduler.rules.outcomes import FAILED_OUTCOMES, FINISHED_OUTCOMES
from scheduler.rules.states import PRIORITY_ORDER

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatesWindow:
    """length: None means all counts since the first. step: of the plot over time."""

    name: str
    label: str
    length: timedelta | None
    step: timedelta

    def start(self, now: datetime) -> datetime:
        """Rounded down to a whole step, since counts are by the hour: a window may be one step longer than `length`."""
        if self.length is None:
            first = Rollup.objects.aggregate(first=Min("hour"))["first"] or now
            return _floor(first, self.step)
        return _floor(now - self.length, HOUR)


WINDOWS: Final = (
    RatesWindow(name="hour", label="Last hour", length=HOUR, step=HOUR),
    RatesWindow(name="day", label="Last day", length=DAY, step=HOUR),
    RatesWindow(name="week", label="Last week", length=7 * DAY, step=HOUR),
    RatesWindow(name="all", label="All", length=None, step=DAY),
)

REASON_UNKNOWN: Final = "no reason"


@admin.register(Rollup)
class FailureRatesAdmin(ListAdmin):
    """Shows plots and tables of the rows instead of the rows."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)  # which refuses, like every list
        window = next((each for each in WINDOWS if each.name == request.GET.get("window")), WINDOWS[1])
        context = {**self.admin_site.each_context(request), "opts": self.opts, **_context(window, database_now())}
        return TemplateResponse(request, "admin/scheduler/rollup/change_list.html", context)


def _context(window: RatesWindow, now: datetime) -> dict[str, Any]:
    start = window.start(now)
    summary = summarise(_counted(window, start), no_gpu=NO_GPU)
    points, gpus = _points(window, start, now), _gpus(summary)
    return {
        "title": "Failure rates",
        "windows": WINDOWS,
        "window": window,
        "start": start,
        "total": summary.total,
        "points": [point for point in points if point.share is not None],
        "plot_over_time": _over_time(window, points),
        "gpus": gpus,
        "plot_gpus": _plot("gpu", "GPU", gpus, expected=True),
        "types": list(summary.by_type.items()),
        "plot_types": _plot("type", "type", list(summary.by_type.items())),
        "priorities": _priorities(summary),
        "plot_priorities": _plot("priority", "priority", _priorities(summary)),
        "reasons": _reasons(summary),
        "plot_reasons": _plot_reasons(summary),
    }


# --- what is read


def _counted(window: RatesWindow, start: datetime) -> list[Counted]:
    rows = Rollup.objects.all() if window.length is None else Rollup.objects.filter(hour__gte=start)
    sums = rows.order_by().values_list("gpu", "type", "priority", "outcome", "reason")
    return [Counted(*row) for row in sums.annotate(Sum("n"), Sum("at_risk"), Sum("expected"))]


def _points(window: RatesWindow, start: datetime, now: datetime) -> list[RatePoint]:
    # Grouped by the hour only, which the index of the key holds in order: a second column would sort all rows.
    hours = Rollup.objects.filter(hour__gte=start).order_by("hour").values_list("hour")
    found: defaultdict[datetime, list[int]] = defaultdict(lambda: [0, 0])
    for at, failed, finished in hours.annotate(
        failed=_n(Q(outcome__in=sorted(FAILED_OUTCOMES))), finished=_n(Q(outcome__in=sorted(FINISHED_OUTCOMES)))
    ):
        counts = found[_floor(at, window.step)]
        counts[0] += failed
        counts[1] += finished
    steps = int((now - start) / window.step) + 1
    return [RatePoint(at=(at := start + index * window.step), share=wilson(*found[at])) for index in range(steps)]


def _n(which: Q) -> Sum:
    return Sum("n", filter=which, default=0)


def _floor(at: datetime, step: timedelta) -> datetime:
    hour = at.replace(minute=0, second=0, microsecond=0)
    return hour if step < DAY else hour.replace(hour=0)


# --- what is shown


def _gpus(summary: Summary) -> list[tuple[str, Attempts]]:
    """All GPUs of today and of the past."""
    known = set(Gpu.objects.values_list("index", flat=True)) | set(summary.by_gpu)
    return [(f"GPU {index}", summary.by_gpu.get(index, Attempts())) for index in sorted(known)]


def _priorities(summary: Summary) -> list[tuple[str, Attempts]]:
    return [
        (priority.value, summary.by_priority[priority])
        for priority in PRIORITY_ORDER
        if priority in summary.by_priority
    ]


def _reasons(summary: Summary) -> list[tuple[str, int, Share | None]]:
    return [(_reason(word), n, wilson(n, summary.total.finished)) for word, n in summary.by_reason.items()]


def _reason(word: str) -> str:
    return word.replace("_", " ") or REASON_UNKNOWN


def _plot(name: str, noun: str, found: Sequence[tuple[str, Attempts]], *, expected: bool = False) -> str:
    rows = [
        PlotRow(
            label=label,
            share=attempts.fault if expected else attempts.failure,
            expected=attempts.expected_fault_rate if expected else None,
        )
        for label, attempts in found
    ]
    title = f"Faults by {noun}, observed and expected" if expected else f"Failure rate by {noun}"
    described = "; ".join(f"{row.label}: {_in_words(row)}" for row in rows) or "no attempt has finished"
    return mark_safe(plots.intervals(f"plot-{name}", title, described, rows))  # noqa: S308 (escaped in plots)


def _in_words(row: PlotRow) -> str:
    if row.share is None:
        return "no attempt finished"
    words = (
        f"{plots.percent(row.share.rate)}, between {plots.percent(row.share.low)} and {plots.percent(row.share.high)}"
    )
    return words if row.expected is None else f"{words}, expected {plots.percent(row.expected)}"


def _plot_reasons(summary: Summary) -> str:
    rows = [(_reason(word), n) for word, n in summary.by_reason.items()]
    described = "; ".join(f"{label}: {n}" for label, n in rows) or "nothing has failed"
    return mark_safe(plots.bars("plot-reason", "Failures by reason", described, rows))  # noqa: S308


def _over_time(window: RatesWindow, points: Sequence[RatePoint]) -> str:
    known = [(point.at, point.share) for point in points if point.share is not None]
    described = "no attempt has finished"
    if known:
        (best_at, best), (worst_at, worst) = (
            min(known, key=lambda each: each[1].rate),
            max(known, key=lambda each: each[1].rate),
        )
        described = (
            f"Lowest {plots.percent(best.rate)} at {best_at:%Y-%m-%d %H:%M}, "
            f"highest {plots.percent(worst.rate)} at {worst_at:%Y-%m-%d %H:%M} UTC"
        )
    title = f"Failure rate by {'hour' if window.step < DAY else 'day'}"
    return mark_safe(plots.over_time("plot-time", title, described, points, window.step))  # noqa: S308
