"""`gpuc jobs`: the newest jobs, filtered."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from cluster_dashboard.api.http.json_body import check_text
from cluster_dashboard.api.schemas import BIGINT_MAXIMUM, JobSummary
from cluster_dashboard.console.arguments import whole_number, word_of
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.job_list import job_table
from cluster_dashboard.console.screen import console
from scheduler.catalogue import catalogue
from scheduler.job_type import UnknownJobType
from scheduler.jobs.admission import COUNT_MAXIMUM
from scheduler.jobs.clock import database_now
from scheduler.models import Job, JobQuerySet
from scheduler.rules.states import JobState, Priority


class Command(ConsoleCommand):
    help = "Lists jobs, newest first."
    examples = """\
  gpuc jobs
  gpuc jobs --state failed --limit 100
  gpuc jobs --state running --json | jq '.jobs[].gpu'
  gpuc jobs --before 1200      further back: jobs with a smaller id"""
    option_names = {"type": "--type"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--state", metavar="S", type=word_of(JobState), help=", ".join(JobState))
        parser.add_argument("--type", metavar="T", help="a job type, of today or of jobs of the past")
        parser.add_argument("--priority", metavar="P", type=word_of(Priority), help=", ".join(Priority))
        parser.add_argument(
            "--limit",
            metavar="N",
            type=whole_number(1, COUNT_MAXIMUM),
            default=20,
            help=f"at most so many, 1 to {COUNT_MAXIMUM} (default: 20)",
        )
        parser.add_argument("--before", metavar="ID", type=whole_number(1, BIGINT_MAXIMUM), help="only smaller ids")
        parser.add_argument("--json", action="store_true", help="print JSON only, with the API's fields")

    def answer(self, **options: Any) -> int:
        limit = options["limit"]
        # One more than asked for tells whether there are more.
        found = list(wanted_jobs(**options)[: limit + 1])
        page = found[:limit]
        next_before = page[-1].id if len(found) > limit else None
        if options["json"]:
            summaries = [JobSummary.from_orm(job).model_dump(mode="json") for job in page]
            self.say_json({"jobs": summaries, "next_before": next_before})
        elif not page:
            self.note("no such jobs")
        else:
            console(self.stdout, no_color=options["no_color"]).print(job_table(page, database_now()))
            if next_before is not None:
                self.note(f"there are more: --before {next_before}, or a larger --limit")
        return 0


def wanted_jobs(**options: Any) -> JobQuerySet:
    filters = {"state": options["state"], "priority": options["priority"], "id__lt": options["before"]}
    job_type = options["type"]
    if job_type is not None:
        check_text(job_type, "type")
        if job_type not in catalogue() and not Job.objects.filter(type=job_type).exists():
            raise UnknownJobType(job_type, catalogue())
        filters["type"] = job_type
    given = {name: value for name, value in filters.items() if value is not None}
    return Job.objects.filter(**given).newest_first().defer("params", "result", "error")
