"""What the job protocol costs, as ratios to bare Celery in the same run: `make bench`.

Start latency on an idle cluster (submit -> start) and the drain of no-op jobs, eight workers each, one broker.
The result goes to tests/benchmarks/results/protocol-<database>.json with command, commit and machine.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LATENCY_JOBS = 300
DRAIN_JOBS = 4000
WORKERS = 8


def main() -> None:
    state = Path(tempfile.mkdtemp(prefix="bench-"))
    os.environ.update(
        STATE_DIR=str(state), WEB_PORT="18390", FLOWER_PORT="18391", GPU_COUNT=str(WORKERS), JOB_RATE="0.1", SEED="7"
    )
    cluster = subprocess.Popen(
        [sys.executable, "manage.py", "up"], cwd=ROOT, stdout=(state / "up.txt").open("w"), stderr=subprocess.STDOUT
    )
    try:
        _wait(lambda: "cluster is ready" in (state / "up.txt").read_text(), 60, "the cluster is ready")
        result = measure(state)
    finally:
        cluster.terminate()
        cluster.wait(30)
    name = "postgresql" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "sqlite"
    path = ROOT / "tests" / "benchmarks" / "results" / f"protocol-{name}.json"
    path.write_text(json.dumps({**provenance(), "database": name, **result}, indent=2) + "\n")
    print(path.read_text())


def measure(state: Path) -> dict[str, Any]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "cluster_dashboard.settings"
    import django

    django.setup()
    from django.conf import settings
    from redis import Redis

    from scheduler.celery import broker_url
    from scheduler.controls import change_control

    change_control(actor="bench", paused=True)
    os.environ.update(BARE_BROKER=broker_url(settings.REDIS_URL), BARE_REDIS=settings.REDIS_URL)
    redis = Redis.from_url(settings.REDIS_URL)
    bare = [_bare_worker(number, state) for number in range(WORKERS)]
    try:
        _wait(lambda: redis.scard("bare:_kombu.binding.bare") >= 1, 60, "bare workers are up")
        _bare_starts(redis, WORKERS * 4)
        ours_latency, bare_latency = _our_latency(), _bare_latency(redis)
        ours_rate, bare_rate = _our_drain(), _bare_drain(redis)
    finally:
        for worker in bare:
            worker.terminate()
        for worker in bare:
            worker.wait(30)
    return {
        "start_latency_ms": {
            "ours": _quantiles(ours_latency),
            "bare_celery": _quantiles(bare_latency),
            "ratio_p50": round(statistics.median(ours_latency) / statistics.median(bare_latency), 2),
            "jobs": LATENCY_JOBS,
        },
        "drain_jobs_per_second": {
            "ours": round(ours_rate),
            "bare_celery": round(bare_rate),
            "ratio": round(ours_rate / bare_rate, 2),
            "jobs": DRAIN_JOBS,
        },
    }


def _bare_worker(number: int, state: Path) -> subprocess.Popen[bytes]:
    flags = ["--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "celery",
            "-q",
            "-A",
            "tests.benchmarks.bare",
            "worker",
            f"--hostname=b{number}@%h",
            *flags,
        ],
        cwd=ROOT,
        # Without Django: bare Celery is what it says, and our guard does not stand before it.
        env={**{k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}, "C_FORCE_ROOT": "1"},
        stdout=(state / f"bare-{number}.txt").open("w"),
        stderr=subprocess.STDOUT,
    )


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
    from scheduler import hints, lifecycle
    from scheduler.admission import job_requests
    from scheduler.states import Source

    requests = job_requests(type="sleep", params={"seconds": 0}, source=Source.API, count=count)
    jobs = lifecycle.submit(requests)
    hints.send_soon(jobs, _client())
    return [job.id for job in jobs]


# --- bare Celery


def _bare_latency(redis: Any) -> list[float]:
    from tests.benchmarks.bare import STARTS_KEY, noop

    redis.delete(STARTS_KEY)
    sent = []
    for number in range(LATENCY_JOBS):
        sent.append(time.time())
        noop.delay(number)
        time.sleep(0.03)
    _wait(lambda: redis.hlen(STARTS_KEY) == LATENCY_JOBS, 60, "bare tasks start")
    started = {int(number): float(at) for number, at in redis.hgetall(STARTS_KEY).items()}
    return [(started[number] - at) * 1000 for number, at in enumerate(sent)]


def _bare_drain(redis: Any) -> float:
    from tests.benchmarks.bare import STARTS_KEY, app, noop

    redis.delete(STARTS_KEY)
    with app.amqp.producer_pool.acquire(block=True) as producer, producer.batch(500):
        for number in range(DRAIN_JOBS):
            noop.apply_async((number,), producer=producer, retry=False)
    _wait(lambda: redis.hlen(STARTS_KEY) == DRAIN_JOBS, 120, "bare tasks are drained")
    started = sorted(float(at) for at in redis.hvals(STARTS_KEY))
    return DRAIN_JOBS / (started[-1] - started[0])


def _bare_starts(redis: Any, count: int) -> None:
    """Warms every child up."""
    from tests.benchmarks.bare import STARTS_KEY, noop

    for number in range(count):
        noop.delay(number)
    _wait(lambda: redis.hlen(STARTS_KEY) == count, 60, "bare workers answer")


# --- parts


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 1), "p99": round(ordered[int(len(ordered) * 0.99)], 1)}


def _wait(condition: Any, seconds: float, story: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s not true: {story}")
        time.sleep(0.1)


def provenance() -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {
        "command": "make bench",
        "commit": commit.stdout.strip(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
