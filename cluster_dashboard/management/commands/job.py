"""`gpuc job`: one job and its story."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from cluster_dashboard.api.job_detail import read_job
from cluster_dashboard.console import source
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.exit_codes import EXIT_FAILED
from cluster_dashboard.console.job_list import job_story
from cluster_dashboard.console.screen import console


class Command(ConsoleCommand):
    help = "Shows one job: what happened to it, when, on which GPU and why; its parameters, result or error."
    examples = """\
  gpuc job 17
  gpuc job nightly-embedding-refresh-0011
  gpuc job 17 --json | jq .result

exit status: 0 found (however the job ended), 1 not known, 3 the database is unavailable"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job", metavar="ID|NAME", help="its id or its name")
        parser.add_argument("--json", action="store_true", help="print JSON only, with the API's fields")

    def answer(self, **options: Any) -> int:
        job_id = source.job_id_of(options["job"])
        job = None if job_id is None else read_job(job_id)
        if job is None:
            raise CommandError(f"there is no job {options['job']}", returncode=EXIT_FAILED)
        if options["json"]:
            self.say_json(job.model_dump(mode="json"))
        else:
            console(self.stdout, no_color=options["no_color"]).print(job_story(job, source.now()))
        return 0
