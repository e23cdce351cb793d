"""What the job protocol costs, as ratios in the same run: `make bench` (ARGS=--postgresql).

Beside bare Celery, and beside Celery that keeps each task's start and result by django-celery-results in the same
database. Start latency on an idle cluster (submit -> start) and the drain of no-op jobs; eight workers each, one
broker. The result goes to tests/benchmarks/results/protocol-<database>.json with command, commit and machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.benchmarks.provenance import ROOT, provenance

LATENCY_JOBS = 300
DRAIN_JOBS = 4000
WORKERS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", action="store_true")
    if not parser.parse_args().postgresql:
        run("sqlite", "make bench")
        return
    from tests.services import PostgresServer

    with PostgresServer() as server:
        os.environ["DATABASE_URL"] = server.url("postgres")
        run("postgresql", "make bench ARGS=--postgresql")


def run(database: str, command: str) -> None:
    state = Path(tempfile.mkdtemp(prefix="bench-"))
    os.environ.update(
        STATE_DIR=str(state), WEB_PORT="18390", FLOWER_PORT="18391", GPU_COUNT=str(WORKERS), JOB_RATE="0.1", SEED="7"
    )
    with (state / "up.txt").open("w") as output:
        cluster = subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, stdout=output, stderr=output)
    try:
        _wait(lambda: "cluster_ready" in (state / "up.txt").read_text(), 60, "the cluster is ready")
        result = measure(state)
    finally:
        cluster.terminate()
        cluster.wait(30)
    path = ROOT / "tests" / "benchmarks" / "results" / f"protocol-{database}.json"
    path.write_text(json.dumps({**provenance(command), "database": database, **result}, indent=2) + "\n")
    print(path.read_text())


def measure(state: Path) -> dict[str, Any]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "cluster_dashboard.settings"
    import django

    django.setup()
    from django.conf import settings
    from redis import Redis

    from scheduler.jobs.controls import change_control
    from scheduler.redis_url import celery_url

    change_control(actor="bench", paused=True)
    os.environ.update(BARE_BROKER=celery_url(settings.REDIS_URL), BARE_REDIS=settings.REDIS_URL)
    redis = Redis.from_url(settings.REDIS_URL)
    from tests.benchmarks.bare import BARE, STORED

    _make_tables()
    bare, stored = (Yardstick(name, redis, state) for name in (BARE, STORED))
    try:
        for each in (bare, stored):
            each.warm_up()
        latency = {"ours": _our_latency(), BARE: bare.latency(), STORED: stored.latency()}
        rate = {"ours": _our_drain(), BARE: bare.drain(), STORED: stored.drain()}
    finally:
        for each in (bare, stored):
            each.stop()
    median = {name: statistics.median(values) for name, values in latency.items()}
    return {
        "start_latency_ms": {
            "ours": _quantiles(latency["ours"]),
            "bare_celery": _quantiles(latency[BARE]),
            "celery_with_results": _quantiles(latency[STORED]),
            "ratio_p50": round(median["ours"] / median[BARE], 2),
            "ratio_p50_with_results": round(median["ours"] / median[STORED], 2),
            "jobs": LATENCY_JOBS,
        },
        "drain_jobs_per_second": {
            "ours": round(rate["ours"]),
            "bare_celery": round(rate[BARE]),
            "celery_with_results": round(rate[STORED]),
            "ratio": round(rate["ours"] / rate[BARE], 2),
            "ratio_with_results": round(rate["ours"] / rate[STORED], 2),
            "jobs": DRAIN_JOBS,
        },
    }


# --- ours


def _our_latency() -> list[float]:
    from scheduler.models import Job

    ids = []
    for _ in range(LATENCY_JOBS):
        ids += _submit(1)
        time.sleep(0.03)
    _wait(lambda: Job.objects.filter(id__in=ids, finished_at__isnull=False).count() == len(ids), 60, "our jobs end")
    rows = Job.objects.filter(id__in=ids).values_list("submitted_at", "started_at")
    return [(started - submitted).total_seconds() * 1000 for submitted, started in rows]


def _our_drain() -> float:
    from scheduler.models import Job

    ids = _submit(DRAIN_JOBS)
    _wait(lambda: not Job.objects.exclude(state="succeeded").exists(), 120, "our jobs are drained")
    jobs = Job.objects.filter(id__in=ids)
    started = jobs.order_by("started_at").values_list("started_at", flat=True).first()
    finished = jobs.order_by("-finished_at").values_list("finished_at", flat=True).first()
    return DRAIN_JOBS / (finished - started).total_seconds()


@cache
def _client() -> Any:
    from scheduler.redis_client import connect

    return connect()


def _submit(count: int) -> list[int]:
    from scheduler.jobs import submit as intake
    from scheduler.jobs.admission import job_requests
    from scheduler.rules.states import Source

    requests = job_requests(type="sleep", params={"seconds": 0}, source=Source.API, count=count)
    return [job.id for job in intake.submit(requests, client=_client(), broker_share=None)]


# --- the yardsticks


def _make_tables() -> None:
    """Those of django-celery-results, beside ours."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.benchmarks.stored_settings"}
    command = [sys.executable, "-m", "django", "migrate", "-v0", "django_celery_results"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


class Yardstick:
    """As many workers as ours."""

    def __init__(self, name: str, redis: Any, state: Path) -> None:
        from tests.benchmarks.bare import add_noop, make_app, starts_key

        self._name, self._redis, self._key = name, redis, starts_key(name)
        self._app = make_app(name)
        self._noop = add_noop(self._app, name)
        self._workers = [self._worker(number, state) for number in range(WORKERS)]

    def _worker(self, number: int, state: Path) -> subprocess.Popen[bytes]:
        from tests.benchmarks.bare import STORED

        flags = ["--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
        command = [sys.executable, "-m", "celery", "-q", "-A", "tests.benchmarks.bare", "worker"]
        # Without our Django: Celery is what it says, and our guard does not stand before it.
        environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
        if self._name == STORED:
            environment["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.stored_settings"
        with (state / f"{self._name}-{number}.txt").open("w") as output:
            return subprocess.Popen(
                [*command, f"--hostname={self._name}{number}@%h", *flags],
                cwd=ROOT,
                env={**environment, "YARDSTICK": self._name, "C_FORCE_ROOT": "1"},
                stdout=output,
                stderr=output,
            )

    def stop(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait(30)

    def warm_up(self) -> None:
        """Until every child has worked."""
        binding = f"{self._name}:_kombu.binding.{self._name}"
        _wait(lambda: self._redis.scard(binding) >= 1, 60, f"{self._name} workers are up")
        self._send(WORKERS * 4)
        self._all_started(WORKERS * 4, 60)

    def latency(self) -> list[float]:
        self._redis.delete(self._key)
        sent = []
        for number in range(LATENCY_JOBS):
            sent.append(time.time())
            self._noop.delay(number)
            time.sleep(0.03)
        self._all_started(LATENCY_JOBS, 60)
        started = {int(number): float(at) for number, at in self._redis.hgetall(self._key).items()}
        return [(started[number] - at) * 1000 for number, at in enumerate(sent)]

    def drain(self) -> float:
        self._redis.delete(self._key)
        self._send(DRAIN_JOBS)
        self._all_started(DRAIN_JOBS, 180)
        started = sorted(float(at) for at in self._redis.hvals(self._key))
        return DRAIN_JOBS / (started[-1] - started[0])

    def _send(self, count: int) -> None:
        with self._app.amqp.producer_pool.acquire(block=True) as producer, producer.batch(500):
            for number in range(count):
                self._noop.apply_async((number,), producer=producer, retry=False)

    def _all_started(self, count: int, seconds: float) -> None:
        _wait(lambda: self._redis.hlen(self._key) == count, seconds, f"{self._name} tasks start")


# --- parts


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 1), "p99": round(ordered[int(len(ordered) * 0.99)], 1)}


def _wait(condition: Callable[[], bool], seconds: float, story: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s not true: {story}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
