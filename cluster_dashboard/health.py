"""Health checks for a supervisor or a load balancer: does this process work, and what it depends on?"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.api.http.problems import FieldError, problem_response
from scheduler.database_errors import DatabaseFailure, is_unavailable
from scheduler.logs import event_logger
from scheduler.redis_client import SHORT_TIMEOUT_SECONDS, connect

log = event_logger(__name__)


class Unfit(Exception):
    """A service answers and still cannot be used; the message may be shown to anybody."""


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while this process and the database answer."""
    return _answer({"database": _ask_database})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 while database and broker answer; 503 names the one that does not."""
    return _answer({"database": _ask_database, "broker": _ask_broker})


def _answer(checks: dict[str, Callable[[], None]]) -> HttpResponse:
    failed = [error for name, check in checks.items() if (error := _failure(name, check))]
    if failed:
        return problem_response(503, "A service that this process needs is unavailable.", errors=failed, retry_after=2)
    return JsonResponse({"status": "ok", "checks": dict.fromkeys(checks, "ok")})


def _failure(name: str, check: Callable[[], None]) -> FieldError | None:
    try:
        check()
    except Unfit as error:
        log.warning("health_check_failed", check=name, error=error)
        return FieldError(field=name, message=str(error))
    except (DatabaseFailure, RedisError, OSError) as error:
        # The text of the error stays in the log: it may contain addresses, and anybody may call this.
        log.warning("health_check_failed", check=name, error=f"{type(error).__name__}: {error}")
        refuses = isinstance(error, DatabaseFailure) and not is_unavailable(error)
        state = "refuses a query" if refuses else "is unreachable"
        return FieldError(field=name, message=f"{state} ({type(error).__name__})")
    return None


def _ask_database() -> None:
    with connection.cursor() as cursor:
        # A table of the cluster: a database without its tables cannot be used either.
        cursor.execute("SELECT id FROM scheduler_control")
        cursor.fetchone()


def _ask_broker() -> None:
    policy = _broker().info("memory").get("maxmemory_policy")
    if policy != "noeviction":
        raise Unfit(f"has maxmemory-policy {policy}; it must be noeviction, or a full broker drops messages")


@cache
def _broker() -> Redis:
    return connect(timeout_seconds=SHORT_TIMEOUT_SECONDS)
