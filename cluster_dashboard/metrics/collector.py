"""/metrics in Prometheus' text format. docs/metrics.md lists the names.

An unknown value is absent, never zero. While database or broker is unavailable, its `gpu_cluster_up` is 0; the
response is no error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from threading import Lock
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector, CollectorRegistry
from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.access import Right, bearer, may
from cluster_dashboard.api.http.problems import REFUSED, problem_response
from cluster_dashboard.live.read import RedisView, oldest_waiting, read_redis
from cluster_dashboard.live.snapshot import GpuNow, gpu_now
from cluster_dashboard.live.totals import Totals, TotalsReader
from scheduler.database_errors import DatabaseFailure
from scheduler.jobs.clock import database_now
from scheduler.jobs.room import Lack, Room, look, shortage_in
from scheduler.logs import Outage, event_logger
from scheduler.models import Control, Gpu, Job, Lease
from scheduler.redis_client import connect
from scheduler.rules.gpu import GpuState
from scheduler.rules.states import PRIORITY_ORDER, EventKind, JobState

log = event_logger(__name__)

BROKER_TIMEOUT_SECONDS: Final = 1.0
#: A second scrape within this time returns the numbers of the first one.
SCRAPE_KEPT_SECONDS: Final = 1.0
_MIB: Final = 1024 * 1024

type Reading = Callable[[GpuNow], float | None]


# --- the response ---------------------------------------------------------------------------------


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For users that may read the page, and for tokens with the scope `read`."""
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
    """A wrong token is refused even if none is needed: the client should learn of the mistake."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return bearer(token.strip()) is not None if scheme.lower() == "bearer" else may(request.user, Right.READ)


@cache
def scraper() -> Scraper:
    """One for this process."""
    return Scraper(connect(timeout_seconds=BROKER_TIMEOUT_SECONDS))


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


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseNumbers:
    now: datetime
    totals: Totals
    oldest: dict[Any, float]
    gpus: list[Gpu]
    #: Indexes of the GPUs that run a job.
    busy: set[int | None]
    control: Control | None
    leases: list[Lease]
    room: Room


@dataclass(slots=True, eq=False)
class ClusterCollector(Collector):
    redis: Redis
    totals: TotalsReader = field(default_factory=TotalsReader)
    started: float = field(default_factory=time.monotonic)
    _database_outage: Outage = field(default_factory=lambda: Outage(log, "metrics"))
    _broker_outage: Outage = field(default_factory=lambda: Outage(log, "metrics"))

    def collect(self) -> Iterator[Metric]:
        began = time.perf_counter()
        database, broker = self._database(), self._broker()
        up = _gauge("up", "1 while this part of the cluster answers, 0 while it is unavailable", ["part"])
        up.add_metric(["database"], database is not None)
        up.add_metric(["broker"], broker is not None)
        yield up
        yield _one("web_uptime_seconds", "Seconds since the web process started", time.monotonic() - self.started)
        yield _refused()
        if database is not None:
            yield from _jobs(database.totals)
            yield from _queues(database)
            yield from _cluster(database, broker)
            yield from _gpu_rows(database)
        if broker is not None:
            yield from _broker(broker)
        if database is not None and broker is not None:
            yield from _gpus_now(database, broker)
        yield _one("scrape_seconds", "Seconds that it took to read these values", time.perf_counter() - began)

    def _database(self) -> DatabaseNumbers | None:
        try:
            now = database_now()
            numbers = DatabaseNumbers(
                now=now,
                totals=self.totals.read(now),
                oldest=oldest_waiting(now),
                gpus=list(Gpu.objects.all()),
                busy={gpu for gpu in Job.objects.running().values_list("gpu", flat=True) if gpu is not None},
                control=Control.objects.first(),
                leases=list(Lease.objects.all()),
                room=look(),
            )
        except DatabaseFailure as error:
            self._database_outage.broke(error)
            return None
        except OSError as error:
            log.warning("disk_unreadable", component="metrics", error=f"{type(error).__name__}: {error}")
            return None
        self._database_outage.recovered()
        return numbers

    def _broker(self) -> RedisView | None:
        try:
            found = read_redis(self.redis)
        except (RedisError, OSError) as error:
            self._broker_outage.broke(error)
            return None
        self._broker_outage.recovered()
        return found


# --- the cluster ----------------------------------------------------------------------------------


def _jobs(totals: Totals) -> Iterator[Metric]:
    jobs = _gauge("jobs", "Jobs by state and priority", ["state", "priority"])
    submitted = _counter("jobs_submitted", "Jobs that were accepted", ["priority"])
    starts = _counter("job_starts", "Attempts that were started", ["priority"])
    for priority in PRIORITY_ORDER:
        for state in JobState:
            jobs.add_metric([state, priority], totals.words[priority, state])
        submitted.add_metric([priority], totals.words[priority, EventKind.SUBMITTED])
        starts.add_metric([priority], totals.words[priority, EventKind.STARTED])
    ended = _counter(
        "attempts_ended",
        "Attempts that ended, and requeues with a charged failure, by outcome and reason",
        ["outcome", "reason"],
    )
    for (outcome, reason), n in sorted(totals.ended.items()):
        ended.add_metric([outcome, reason], n)
    requeues = _counter("requeues", "Running jobs that were requeued, with and without a charged failure", ["charged"])
    requeues.add_metric(["true"], totals.requeued_charged)
    requeues.add_metric(["false"], totals.requeued_uncharged)
    refused = _counter(
        "commits_refused", "Results that were refused because their attempt was no longer the current one", []
    )
    refused.add_metric([], totals.of("commit_refused"))
    yield from (jobs, submitted, starts, ended, requeues, refused)


def _queues(database: DatabaseNumbers) -> Iterator[Metric]:
    waiting = _gauge("queue_waiting_jobs", "Jobs in the state queued", ["priority"])
    oldest = _gauge("queue_oldest_seconds", "Seconds that the oldest queued job has waited", ["priority"])
    for priority in PRIORITY_ORDER:
        waiting.add_metric([priority], database.totals.words[priority, JobState.QUEUED])
        if priority in database.oldest:
            oldest.add_metric([priority], database.oldest[priority])
    yield from (waiting, oldest)


def _cluster(database: DatabaseNumbers, live: RedisView | None) -> Iterator[Metric]:
    control, room = database.control, database.room
    if control is not None:
        yield _one("generator_rate_per_minute", "Jobs a minute that the generator submits", control.rate_per_minute)
        yield _one("generator_paused", "1 while the generator is paused", control.paused)
    leases = _gauge(
        "loop_lease_seconds",
        "Seconds until the lease of a scheduler loop expires; below 0: no scheduler runs the loop",
        ["loop"],
    )
    for lease in database.leases:
        leases.add_metric([lease.name], (lease.expires_at - database.now).total_seconds())
    yield leases
    yield _one("disk_free_bytes", "Free bytes on the disk to which jobs are written", room.free_bytes)
    share = None if live is None else live.broker_share
    shortage = shortage_in(Room(free_bytes=room.free_bytes, queued=room.queued, broker_share=share))
    no_room = _gauge("no_room", "1 while new jobs are refused for this reason", ["reason"])
    for lack in Lack:
        no_room.add_metric([lack], shortage is not None and shortage.lack is lack)
    yield no_room


def _refused() -> Metric:
    refused = _counter(
        "submissions_refused", "Submissions that this web process refused because there was no room", ["reason"]
    )
    for lack in Lack:
        refused.add_metric([lack], REFUSED[lack])
    return refused


def _broker(live: RedisView) -> Iterator[Metric]:
    hints = _gauge("queue_hints", "Hints in the broker", ["priority"])
    for priority in PRIORITY_ORDER:
        hints.add_metric([priority], live.in_redis[priority])
    yield hints
    if live.dead_letters is not None:
        letters = _counter(
            "dead_letters",
            "Messages that this cluster did not send or that were malformed, since the broker was last emptied",
            [],
        )
        letters.add_metric([], live.dead_letters.total)
        yield letters
        yield _one("dead_letters_kept", "Dead letters that are kept and can be read", live.dead_letters.kept)
    if live.broker_share is not None:
        yield _one("broker_memory_ratio", "Share of the broker's maxmemory that is in use", live.broker_share)


# --- GPUs -----------------------------------------------------------------------------------------


def _gpu_rows(database: DatabaseNumbers) -> Iterator[Metric]:
    """What the database holds of each GPU."""
    info = _gauge("gpu_info", "Always 1; the labels describe the GPU", ["gpu", "uuid", "name", "host", "backend"])
    for gpu in database.gpus:
        info.add_metric([str(gpu.index), gpu.uuid, gpu.name, gpu.host, gpu.backend], 1)
    yield info
    yield _of_gpus(
        "gpu_failure_rate",
        "Probability that a random fault hits an attempt of a generated job on this GPU",
        _rows(database, "failure_rate"),
    )
    yield _of_gpus("gpu_drained", "1 while the GPU is drained by an operator", _rows(database, "drained"))
    quarantined = [(gpu, bool(gpu.quarantined)) for gpu in database.gpus]
    yield _of_gpus("gpu_quarantined", "1 while the GPU is quarantined by the cluster", quarantined)
    yield _of_gpus(
        "gpu_memory_total_bytes", "Total memory", [(gpu, _times(gpu.memory_total_mib, _MIB)) for gpu in database.gpus]
    )
    yield _of_gpus("gpu_power_limit_watts", "Power limit", _rows(database, "power_limit_w"))
    uptimes = [(gpu, _age(database.now, gpu.booted_at)) for gpu in database.gpus]
    yield _of_gpus("gpu_worker_uptime_seconds", "Seconds since the worker of the GPU registered", uptimes)


def _gpus_now(database: DatabaseNumbers, live: RedisView) -> Iterator[Metric]:
    """What the worker of each GPU reports now; a sample that is too old is left out."""
    now = [(gpu, gpu_now(gpu, live, busy=gpu.index in database.busy)) for gpu in database.gpus]
    states = _gauge("gpu_state", "1 for the state of the GPU, 0 for the others", ["gpu", "state"])
    for gpu, values in now:
        for state in GpuState:
            states.add_metric([str(gpu.index), state], values.state is state)
    yield states
    readings: tuple[tuple[str, str, Reading, float], ...] = (
        (
            "gpu_heartbeat_age_seconds",
            "Seconds since the last heartbeat of the worker",
            lambda each: each.heartbeat_age_s,
            1,
        ),
        (
            "gpu_utilization_ratio",
            "Share of the time in which the GPU computed, 0 to 1",
            lambda each: each.utilization_percent,
            0.01,
        ),
        ("gpu_memory_used_bytes", "Memory in use", lambda each: each.memory_used_mib, _MIB),
        ("gpu_temperature_celsius", "Temperature", lambda each: each.temperature_c, 1),
        ("gpu_power_watts", "Power draw", lambda each: each.power_w, 1),
    )
    for name, words, reading, factor in readings:
        yield _of_gpus(name, words, [(gpu, _times(reading(values), factor)) for gpu, values in now])
    yield from _as_dcgm(now)


def _as_dcgm(now: list[tuple[Gpu, GpuNow]]) -> Iterator[Metric]:
    """The same under the names, units and labels of NVIDIA's DCGM exporter, for existing dashboards."""
    readings: tuple[tuple[str, str, Callable[[Gpu, GpuNow], float | None]], ...] = (
        ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", lambda _, each: each.utilization_percent),
        ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", lambda _, each: each.memory_used_mib),
        ("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB).", _free_mib),
        ("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", lambda _, each: each.temperature_c),
        ("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", lambda _, each: each.power_w),
        ("DCGM_FI_DEV_XID_ERRORS", "Value of the last XID error encountered.", lambda _, each: each.last_xid),
    )
    for name, words, reading in readings:
        family = GaugeMetricFamily(name, words, labels=["gpu", "UUID", "device", "modelName", "Hostname"])
        for gpu, values in now:
            if (value := reading(gpu, values)) is not None:
                labels = [str(gpu.index), gpu.uuid, f"nvidia{gpu.index}", gpu.name, gpu.host]
                family.add_metric(labels, value)
        yield family


def _free_mib(gpu: Gpu, now: GpuNow) -> float | None:
    used, total = now.memory_used_mib, gpu.memory_total_mib
    return None if used is None or total is None else total - used


# --- parts ----------------------------------------------------------------------------------------


def _gauge(name: str, words: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gpu_cluster_{name}", words, labels=labels)


def _counter(name: str, words: str, labels: list[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"gpu_cluster_{name}", words, labels=labels)


def _one(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gpu_cluster_{name}", words, value=value)


def _of_gpus(name: str, words: str, values: Iterable[tuple[Gpu, float | None]]) -> GaugeMetricFamily:
    family = _gauge(name, words, ["gpu"])
    for gpu, value in values:
        if value is not None:
            family.add_metric([str(gpu.index)], value)
    return family


def _rows(database: DatabaseNumbers, name: str) -> list[tuple[Gpu, float | None]]:
    return [(gpu, getattr(gpu, name)) for gpu in database.gpus]


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _age(now: datetime, since: datetime | None) -> float | None:
    return None if since is None else (now - since).total_seconds()
