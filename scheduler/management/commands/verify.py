"""manage.py verify: the verdict on what this cluster did."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand

from scheduler.verdict.judge import judge
from scheduler.verdict.log import first_job_since
from scheduler.verdict.report import as_html, as_junit, as_text

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _moment(value: str) -> datetime:
    """An ISO time, or how long ago: 90s, 15m, 2h, 7d."""
    try:
        if value and value[-1] in _UNITS:
            return datetime.now(UTC) - timedelta(seconds=float(value[:-1]) * _UNITS[value[-1]])
        at = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{value!r} is neither an ISO time nor an age such as 90s, 15m, 2h, 7d") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Proves from the event log and the workers' own records that no job was lost and none recorded twice. "
        "Exit code 0: it holds; 1: it is broken; 2: the log is not complete enough to tell."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", type=_moment, help="only jobs submitted since: an ISO time, or 90s, 15m, 2h, 7d")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--junit", type=Path, metavar="FILE", help="also write JUnit XML")
        parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page")

    def handle(self, **options: Any) -> None:
        first_job = first_job_since(options["since"]) if options["since"] else 0
        verdict = judge(Path(settings.STATE_DIR) / "witness", first_job=first_job)
        self.stdout.write(json.dumps(verdict.as_dict(), indent=2) if options["json"] else as_text(verdict))
        if options["junit"]:
            options["junit"].write_text(as_junit(verdict))
        if options["html"]:
            options["html"].write_text(as_html(verdict))
        sys.exit(int(verdict.outcome))
