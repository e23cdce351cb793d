"""What the verdict costs on a long log: `python -m tests.benchmarks.verdict [--jobs N] [--postgresql]`.

Seeds finished jobs in a database of its own, writes what their workers would have witnessed, and runs
`manage.py verify` in a process of its own. The result goes to tests/benchmarks/results/verdict-<database>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.provenance import ROOT, provenance

LIMIT_SECONDS = 30
GPUS = 8
DAYS = 29


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--postgresql", action="store_true")
    asked = parser.parse_args()
    if not asked.postgresql:
        report("sqlite", asked.jobs, measure(asked.jobs, ""))
        return
    from tests.services import PostgresServer

    with PostgresServer() as server:
        report("postgresql", asked.jobs, measure(asked.jobs, server.url("postgres")))


def measure(jobs: int, database_url: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as state:
        environment = {"STATE_DIR": state, "SECRET_KEY": "x" * 50, "DATABASE_URL": database_url}
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="cluster_dashboard.settings")
        import django

        django.setup()
        from django.core.management import call_command

        from tests.benchmarks.seeding import seed

        call_command("migrate", verbosity=0)
        seed(jobs, days=DAYS, gpus=GPUS, seed=1)
        lines = write_witnesses(Path(state, "witness"))
        return {"witness_lines": lines, **verify()}


def write_witnesses(folder: Path) -> int:
    """Of each GPU, from the log itself: what it would have seen."""
    from scheduler.models import JobEvent

    folder.mkdir()
    files = [Path(folder, f"gpu-{gpu}.jsonl").open("w") for gpu in range(GPUS)]  # noqa: SIM115 (closed below)
    events = JobEvent.objects.exclude(gpu=None).order_by("id")
    lines = 0
    for job, kind, at, attempt, gpu, boot in events.values_list(
        "job_id", "kind", "at", "attempt", "gpu", "boot"
    ).iterator(chunk_size=5000):
        for saw in ("claiming", "started") if kind == "started" else () if kind == "requeued" else ("ended",):
            line = {"at": at.timestamp(), "saw": saw, "job": job, "attempt": attempt, "gpu": gpu, "boot": boot}
            files[gpu].write(f"{json.dumps(line)}\n")
            lines += 1
    for file in files:
        file.close()
    return lines


def verify() -> dict[str, Any]:
    began, used = time.monotonic(), _cpu_seconds()
    done = subprocess.run(
        [sys.executable, "manage.py", "verify", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - began
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["outcome"]) == (0, "holds"), done.stdout[:2000] + done.stderr
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "events": verdict["events"],
        "starts": verdict["starts"],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(_cpu_seconds() - used, 1),
        "limit_seconds": LIMIT_SECONDS,
        "holds": seconds < LIMIT_SECONDS,
        "peak_memory_mib": round(peak_kib / 1024),
    }


def _cpu_seconds() -> float:
    """Of the processes that ended: what the machine's other work does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(database: str, jobs: int, result: dict[str, Any]) -> None:
    command = "python -m tests.benchmarks.verdict" + (" --postgresql" if database == "postgresql" else "")
    if jobs != 100_000:
        command += f" --jobs {jobs}"
    text = json.dumps({**provenance(command), "database": database, "jobs": jobs, **result}, indent=2)
    if jobs == 100_000:
        (ROOT / "tests" / "benchmarks" / "results" / f"verdict-{database}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
