"""Collects the metrics of one scrape. docs/metrics.md lists the names.

An unknown value is absent, never zero. While the database or the broker is unavailable, its `gpu_cluster_up` is 0 and
the response still succeeds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.live.read import RedisView, read_redis
from cluster_dashboard.live.totals import TotalsReader
from cluster_dashboard.metrics import cluster_families, gpu_families
from cluster_dashboard.metrics.builders import gauge, single
from cluster_dashboard.metrics.numbers import DatabaseNumbers
from scheduler.database_errors import DatabaseFailure
from scheduler.logs import Outage, event_logger

log = event_logger(__name__)


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
        up = gauge("up", "1 while this part of the cluster answers, 0 while it is unavailable", ["part"])
        up.add_metric(["database"], database is not None)
        up.add_metric(["broker"], broker is not None)
        yield up
        yield single("web_uptime_seconds", "Seconds since the web process started", time.monotonic() - self.started)
        yield cluster_families.refused()
        if database is not None:
            yield from cluster_families.jobs(database.totals)
            yield from cluster_families.queues(database)
            yield from cluster_families.cluster(database, broker)
            yield from gpu_families.gpu_rows(database)
        if broker is not None:
            yield from cluster_families.broker(broker)
        if database is not None and broker is not None:
            yield from gpu_families.gpus_now(database, broker)
        yield single("scrape_seconds", "Seconds that it took to read these values", time.perf_counter() - began)

    def _database(self) -> DatabaseNumbers | None:
        try:
            numbers = DatabaseNumbers.read(self.totals)
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
