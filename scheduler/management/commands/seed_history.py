"""Fills the history with plausible finished jobs, for measuring and for trying the admin."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scheduler.seeding import seed

JOBS_MAXIMUM = 10_000_000


class Command(BaseCommand):
    help = "Makes finished jobs with their events, totals and roll-up, as if they had run over the last days."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--jobs", type=int, default=10_000, metavar="N", help="how many (default 10000)")
        parser.add_argument("--days", type=float, default=29.0, metavar="D", help="over how many days (default 29)")
        parser.add_argument("--gpus", type=int, default=8, metavar="N", help="on how many GPUs (default 8)")
        parser.add_argument("--seed", type=int, default=1, metavar="N", help="the same seed makes the same history")

    def handle(self, *, jobs: int, days: float, gpus: int, seed: int, **options: Any) -> None:
        for name, value, maximum in (("jobs", jobs, JOBS_MAXIMUM), ("days", days, 3650), ("gpus", gpus, 64)):
            if not 0 < value <= maximum:
                raise CommandError(f"--{name}: {value} is not a number above 0 and up to {maximum}", returncode=2)
        started = time.monotonic()
        made = _seed(jobs, days, gpus, seed)
        seconds = time.monotonic() - started
        self.stdout.write(f"{made:,} jobs over {days:g} days in {seconds:.1f} s")


def _seed(jobs: int, days: float, gpus: int, number: int) -> int:
    return seed(jobs, days=days, gpus=gpus, seed=number)
