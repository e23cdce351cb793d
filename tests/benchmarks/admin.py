"""What the admin's pages cost with a long history: `python -m tests.benchmarks.admin [--jobs N] [--postgresql]`.

Seeds a database of its own, then asks for each page in this process, the whole of Django's stack included. The result
goes to tests/benchmarks/results/admin-<database>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from typing import Any

from tests.project import ROOT

REQUESTS = 15
GPUS = 8
DAYS = 29

JOBS = "/admin/scheduler/job/"
RATES = "/admin/scheduler/rollup/"

#: Page: (limit in ms, address); {id} and {name} are those of a job in the middle.
PAGES = {
    "list": (150, JOBS),
    "list, last page": (150, f"{JOBS}?p=100"),
    "list, failed": (150, f"{JOBS}?state__exact=failed"),
    "list, priority critical": (150, f"{JOBS}?priority__exact=critical"),
    "list, one GPU": (150, f"{JOBS}?gpu=3"),
    "list, a type": (150, f"{JOBS}?type=fault_injection"),
    "list, a rare reason": (150, f"{JOBS}?reason__exact=result_invalid"),
    "list, a reason that never was": (150, f"{JOBS}?reason__exact=claim_lost"),
    "list, a common reason": (150, f"{JOBS}?reason__exact=injected_error"),
    "list, a rare source": (150, f"{JOBS}?source__exact=admin"),
    "list, failed on one GPU, critical": (150, f"{JOBS}?state__exact=failed&gpu=3&priority__exact=critical"),
    "list, succeeded on one GPU, critical": (150, f"{JOBS}?state__exact=succeeded&gpu=3&priority__exact=critical"),
    "list, one GPU, critical, a type": (150, f"{JOBS}?gpu=3&priority__exact=critical&type=sleep"),
    "list, cancelled, of a rare type and source": (
        150,
        f"{JOBS}?state__exact=cancelled&type=fault_injection&source__exact=api",
    ),
    "search, a number": (50, f"{JOBS}?q={{id}}"),
    "search, a name": (50, f"{JOBS}?q={{name}}"),
    "search, nothing found": (50, f"{JOBS}?q=no-such-job"),
    "a job": (150, f"{JOBS}{{id}}/change/"),
    "failure rates, hour": (100, f"{RATES}?window=hour"),
    "failure rates, day": (100, f"{RATES}?window=day"),
    "failure rates, week": (100, f"{RATES}?window=week"),
    "failure rates, all": (100, f"{RATES}?window=all"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--postgresql", action="store_true")
    asked = parser.parse_args()
    if not asked.postgresql:
        report("sqlite", measure(asked.jobs, ""))
        return
    from tests.services import PostgresServer

    with PostgresServer() as server:
        report("postgresql", measure(asked.jobs, server.url("postgres")))


def measure(jobs: int, database_url: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as state:
        environment = {"STATE_DIR": state, "SECRET_KEY": "x" * 50, "DATABASE_URL": database_url}
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="cluster_dashboard.settings", ALLOWED_HOSTS="testserver")
        import django

        django.setup()
        from django.core.management import call_command

        from tests.benchmarks.seeding import seed

        call_command("migrate", verbosity=0)
        seconds = _timed(lambda: seed(jobs, days=DAYS, gpus=GPUS, seed=1))
        return {"jobs": jobs, "seeding_seconds": round(seconds), "pages_ms": _pages(jobs)}


def _pages(jobs: int) -> dict[str, Any]:
    from django.contrib.auth import get_user_model
    from django.test import Client

    from scheduler.models import Gpu, Job

    _as_after_a_while()
    Gpu.objects.bulk_create([Gpu(index=index, backend="simulated") for index in range(GPUS)])
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("bench", password=None))
    middle = Job.objects.get(id=jobs // 2)
    client.get(JOBS)  # templates are loaded
    found = {}
    for page, (limit, address) in PAGES.items():
        path = address.format(id=middle.id, name=middle.name)
        times = [_timed(lambda path=path: _get(client, path)) * 1000 for _ in range(REQUESTS)]
        median = round(statistics.median(times), 1)
        found[page] = {
            "first": round(times[0], 1), "median": median, "max": round(max(times), 1), "limit": limit,
            "holds": median < limit,
        }  # fmt: skip
        print(f"{page:<45} {found[page]}", flush=True)
    return found


def _as_after_a_while() -> None:
    """PostgreSQL's autovacuum would have gathered statistics; SQLite has none, here as in the cluster."""
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _get(client: Any, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200, (address, answer.status_code)


def _timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def report(database: str, result: dict[str, Any]) -> None:
    path = ROOT / "tests" / "benchmarks" / "results" / f"admin-{database}.json"
    path.write_text(json.dumps({**provenance(), "database": database, **result}, indent=2) + "\n")
    print(f"{path.relative_to(ROOT)} is written")


def provenance() -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {
        "command": f"python -m tests.benchmarks.admin {' '.join(sys.argv[1:])}".rstrip(),
        "commit": commit.stdout.strip(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
