"""Checks a new job field by field. Every job that is submitted has passed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.db.models import Max

from scheduler.catalogue import catalogue
from scheduler.job_type import ParamsInvalid, parse_params, stored_params
from scheduler.jobs.submit import JobRequest
from scheduler.models import Gpu
from scheduler.rules.job_limits import (
    FAILURE_LIMIT,
    FAILURE_LIMIT_MAXIMUM,
    TIME_LIMIT_SECONDS,
)
from scheduler.rules.naming import check_name
from scheduler.rules.states import Priority, Source

#: Maximum of jobs in one call.
COUNT_MAXIMUM: Final = 10_000


def job_request(
    *,
    type: str,  # noqa: A002 (the field's name everywhere)
    priority: str = Priority.NORMAL,
    params: Mapping[str, Any] | None = None,
    source: Source,
    owner: str = "",
    name: str | None = None,
    time_limit_seconds: int | None = TIME_LIMIT_SECONDS,
    max_failures: int = FAILURE_LIMIT,
    accepts_faults: bool = False,
    largest_gpu_mib: int | None = None,
) -> JobRequest:
    """Returns a request that may be submitted. Raises ParamsInvalid with the wrong field and the accepted values.

    owner: a user, a token, or the unix user of a command; empty: the generator.
    largest_gpu_mib: memory of the cluster's largest GPU; None: unknown, and not checked.
    accepts_faults: whether random faults may hit the job; they may also if its type accepts them.
    time_limit_seconds: None: from the duration that its type expects, with a margin.
    """
    job_type = catalogue()[type]
    values = parse_params(job_type, params or {})
    memory_mib = job_type.gpu_memory_mib(values)
    _check_memory(memory_mib, largest_gpu_mib)
    return JobRequest(
        type=type,
        priority=parse_priority(priority),
        params=stored_params(values),
        source=source,
        owner=owner,
        gpu_memory_mib=memory_mib,
        load=job_type.load(values),
        name=None if name is None else check_name(name),
        time_limit_seconds=_time_limit_seconds(time_limit_seconds, job_type.duration_seconds(values)),
        max_failures=_whole("max_failures", max_failures, FAILURE_LIMIT_MAXIMUM),
        accepts_faults=accepts_faults or job_type.accepts_random_faults,
    )


def job_requests(*, count: int = 1, name: str | None = None, **fields: Any) -> list[JobRequest]:
    """`count` equal jobs; with a name and a count above 1 they are called name-1, name-2, ..."""
    _whole("count", count, COUNT_MAXIMUM)
    fields["largest_gpu_mib"] = largest_gpu_mib()
    first = job_request(name=name, **fields)
    if name is None or count == 1:
        return [first] * count
    return [job_request(name=f"{name}-{i}", **fields) for i in range(1, count + 1)]


def parse_priority(value: str) -> Priority:
    try:
        return Priority(value)
    except ValueError:
        raise ParamsInvalid("priority", f"{value!r} is not one of {', '.join(Priority)}") from None


def _time_limit_seconds(wanted: int | None, expected_seconds: float) -> int:
    if wanted is not None:
        return _whole("time_limit_seconds", wanted, settings.TIME_LIMIT_MAX_SECONDS)
    generous = min(1.5 * expected_seconds + 60, settings.TIME_LIMIT_MAX_SECONDS)
    return max(TIME_LIMIT_SECONDS, round(generous))


def _whole(field: str, value: int, maximum: int) -> int:
    if not 1 <= value <= maximum:
        raise ParamsInvalid(field, f"{value} is not a whole number from 1 to {maximum}")
    return value


def largest_gpu_mib() -> int | None:
    """None before the first worker has registered its GPU."""
    largest: int | None = Gpu.objects.aggregate(largest=Max("memory_total_mib"))["largest"]
    return largest


def _check_memory(needed_mib: int, largest_mib: int | None) -> None:
    if largest_mib is not None and needed_mib > largest_mib:
        raise ParamsInvalid("params", f"it needs {needed_mib} MiB of GPU memory; the largest GPU has {largest_mib}")
