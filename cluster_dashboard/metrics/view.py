"""/metrics in Prometheus' text format."""

from __future__ import annotations

import time
from functools import cache
from threading import Lock
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import CollectorRegistry
from redis import Redis

from cluster_dashboard.access import Right, bearer, may
from cluster_dashboard.api.http.problems import problem_response
from cluster_dashboard.metrics.collector import ClusterCollector
from scheduler.database_errors import DatabaseFailure
from scheduler.logs import event_logger
from scheduler.redis_client import SHORT_TIMEOUT_SECONDS, connect

log = event_logger(__name__)

#: A second scrape within this time returns the numbers of the first one.
SCRAPE_KEPT_SECONDS: Final = 1.0


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answers users that may read the page, and tokens with the scope `read`."""
    refused = _refusal(request)
    return refused or HttpResponse(scraper().text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _refusal(request: HttpRequest) -> HttpResponse | None:
    try:
        if _may_read(request):
            return None
        is_known = request.user.is_authenticated
    except DatabaseFailure as error:
        log.warning("database_unreachable", component="metrics permissions", error=f"{type(error).__name__}: {error}")
        return problem_response(
            503, "The database is unavailable, so your permission to read cannot be checked.", retry_after=2
        )
    if is_known:
        return problem_response(403, "Your account has no permission to read the metrics.")
    return problem_response(401, "Send Authorization: Bearer with a token that has the scope read, or sign in.")


def _may_read(request: HttpRequest) -> bool:
    """Refuses a wrong token even where none is needed, so that the client notices the mistake."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return bearer(token.strip()) is not None if scheme.lower() == "bearer" else may(request.user, Right.READ)


@cache
def scraper() -> Scraper:
    """One for this process."""
    return Scraper(connect(timeout_seconds=SHORT_TIMEOUT_SECONDS))


class Scraper:
    def __init__(self, redis: Redis) -> None:
        self._lock = Lock()
        self._text = b""
        self._read_at = float("-inf")
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ClusterCollector(redis))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        with self._lock:
            if time.monotonic() - self._read_at >= SCRAPE_KEPT_SECONDS:
                self._text = generate_latest(self._registry)
                self._read_at = time.monotonic()
            return self._text
