"""`gpuc job`: one job and its story."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from cluster_dashboard.api.job_detail import read_job
from cluster_dashboard.api.schemas import BIGINT_MAXIMUM
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.exit_codes import EXIT_FAILED
from cluster_dashboard.console.job_list import job_story
from cluster_dashboard.console.screen import console
from scheduler.jobs.clock import database_now
from scheduler.models import Job


class Command(ConsoleCommand):
    help = "Shows one job: what happened to it, when, on which GPU and why; its parameters, result or error."
    examples = """\
  gpuc job 17
  gpuc job nightly-embedding-refresh-0011
  gpuc job 17 --json | jq .result

exit status: 0 found (however the job ended), 1 not known, 3 the database does not answer"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job", metavar="ID|NAME", help="its id or its name")
        parser.add_argument("--json", action="store_true", help="print JSON only, with the API's fields")

    def answer(self, **options: Any) -> int:
        job_id = find(options["job"])
        job = None if job_id is None else read_job(job_id)
        if job is None:
            raise CommandError(f"there is no job {options['job']}", returncode=EXIT_FAILED)
        if options["json"]:
            self.say_json(job.model_dump(mode="json"))
        else:
            console(self.stdout, no_color=options["no_color"]).print(job_story(job, database_now()))
        return 0


def find(text: str) -> int | None:
    """Its id. A name may be all digits too."""
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= BIGINT_MAXIMUM:
        job_id = int(text)
        if Job.objects.filter(id=job_id).exists():
            return job_id
    # Names are ASCII; anything else may be no text that a database takes.
    return Job.objects.filter(name=text).values_list("id", flat=True).first() if text.isascii() else None
