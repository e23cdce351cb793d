"""The last minutes as the page shows them: job spans by GPU, and series with a point every few seconds.

Pure: the caller adds what it has read, and passes the time.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Final

from cluster_dashboard.live.read import Happened
from scheduler.rules.outcomes import FINISHED_OUTCOMES, failures
from scheduler.rules.states import EventKind

#: Length of the window on the page, in seconds.
SPAN_SECONDS: Final = 300.0
#: The maximum number of spans kept; far more than eight lanes can show.
SPANS_MAXIMUM: Final = 2000
#: Rates and waits are taken over the last minute.
RATE_SECONDS: Final = 60.0
HOUR_SECONDS: Final = 3600.0

_ATTEMPT_ENDS: Final = {EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED, EventKind.REQUEUED}
_OUTCOMES: Final = {EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED}

Span = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPoint:
    """One point of each of the page's series; its fields are their names. None: unknown."""

    #: Seconds since the epoch.
    t: float
    arrived_per_minute: float | None
    finished_per_minute: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    utilization_percent: float | None = None
    power_w: float | None = None
    queued: float | None = None
    failed_percent: float | None = None


@dataclass(slots=True)
class Window:
    """Remembers the ids of events, since every read returns the newest ones again."""

    newest_event: int = 0
    #: Events up to this id were counted before the window began: they must not be counted twice.
    before: int = 0
    _seen: set[int] = field(default_factory=set)
    _seen_order: deque[int] = field(default_factory=deque)
    _spans: dict[tuple[int, int], Span] = field(default_factory=dict)
    _arrived: deque[float] = field(default_factory=deque)
    _finished: deque[float] = field(default_factory=deque)
    _waits: deque[tuple[float, float]] = field(default_factory=deque)
    #: minute -> Counter of outcomes, and of reasons of failures
    _minutes: dict[int, Counter[str]] = field(default_factory=dict)
    _points: deque[SeriesPoint] = field(default_factory=deque)

    def add(self, events: list[Happened]) -> None:
        for event in events:
            if event.id > self.before and event.id not in self._seen:
                self._seen.add(event.id)
                self._seen_order.append(event.id)
                self._add(event)
        if events:
            self.newest_event = max(self.newest_event, events[-1].id)
        while len(self._seen_order) > 5 * SPANS_MAXIMUM:
            self._seen.discard(self._seen_order.popleft())

    def _add(self, event: Happened) -> None:
        if event.kind is EventKind.SUBMITTED:
            self._arrived.append(event.at)
        elif event.kind is EventKind.STARTED:
            self._start(event)
        if event.kind in _ATTEMPT_ENDS and event.gpu is not None:
            self._end(event)
        if event.kind in _OUTCOMES:
            if event.kind in FINISHED_OUTCOMES:
                self._finished.append(event.at)
            self.count_outcome(event.at, event.kind, event.reason, 1)

    def _start(self, event: Happened) -> None:
        if event.started_at is not None and abs(event.started_at - event.at) < 0.002:
            # The row is still that of this attempt, so the wait before it is known exactly.
            insort(self._waits, (event.at, max(0.0, event.at - event.queued_at)))
        self._spans.setdefault((event.job_id, event.attempt), _span(event, started_at=event.at))

    def _end(self, event: Happened) -> None:
        span = self._spans.setdefault((event.job_id, event.attempt), _span(event, started_at=event.at))
        span.update(ended_at=event.at, outcome=event.kind.value, reason=event.reason)

    def count_outcome(self, at: float, kind: str, reason: str, n: int) -> None:
        minute = self._minutes.setdefault(int(at // 60), Counter())
        minute[kind] += n
        if kind == EventKind.FAILED:
            minute[f"reason:{reason}"] += n

    def forget(self, now: float) -> None:
        """Drops what is older than the window, which bounds the memory."""
        for times in (self._arrived, self._finished):
            while times and times[0] < now - RATE_SECONDS:
                times.popleft()
        while self._waits and self._waits[0][0] < now - RATE_SECONDS:
            self._waits.popleft()
        old = [key for key, span in self._spans.items() if (span["ended_at"] or now) < now - SPAN_SECONDS]
        for key in old:
            del self._spans[key]
        while len(self._spans) > SPANS_MAXIMUM:
            del self._spans[next(iter(self._spans))]
        for minute in [minute for minute in self._minutes if minute < (now - HOUR_SECONDS) // 60]:
            del self._minutes[minute]
        while self._points and self._points[0].t < now - SPAN_SECONDS:
            self._points.popleft()

    # --- what the page receives

    def spans(self) -> list[Span]:
        return list(self._spans.values())

    def newest_spans(self, limit: int) -> dict[int, list[Span]]:
        """The newest spans of each GPU, oldest first."""
        found: dict[int, list[Span]] = {}
        for span in reversed(self._spans.values()):
            spans = found.setdefault(span["gpu"], [])
            if len(spans) < limit:
                spans.append(span)
        return {gpu: spans[::-1] for gpu, spans in found.items()}

    def rates(self) -> dict[str, float | None]:
        waits = sorted(wait for _, wait in self._waits)
        return {
            "arrived_per_minute": len(self._arrived) * 60 / RATE_SECONDS,
            "finished_per_minute": len(self._finished) * 60 / RATE_SECONDS,
            "wait_p50_s": waits[len(waits) // 2] if waits else None,
            "wait_p95_s": waits[int(len(waits) * 0.95)] if waits else None,
        }

    def last_hour(self) -> dict[str, Any]:
        total = sum(self._minutes.values(), Counter())
        reasons = {key.removeprefix("reason:"): n for key, n in total.items() if key.startswith("reason:")}
        found = failures(total)
        return {
            "failed_last_hour": found.failed,
            "finished_last_hour": found.finished,
            "failed_percent": None if found.share is None else 100 * found.share,
            "failed_top_reason": max(reasons, key=lambda reason: reasons[reason]) if reasons else None,
        }

    def add_point(self, point: SeriesPoint) -> None:
        self._points.append(point)

    def series(self) -> dict[str, list[float | None]]:
        """The values of each series by its name, oldest first."""
        return {each.name: [getattr(point, each.name) for point in self._points] for each in fields(SeriesPoint)}


def _span(event: Happened, *, started_at: float) -> Span:
    return {
        "job": event.job_id,
        "name": event.name,
        "type": event.type,
        "gpu": event.gpu,
        "attempt": event.attempt,
        "started_at": started_at,
        "ended_at": None,
        "outcome": None,
        "reason": "",
    }


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
