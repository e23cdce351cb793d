"""`gpuc jobs`: the newest jobs, filtered."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from cluster_dashboard.api.schemas import BIGINT_MAXIMUM
from cluster_dashboard.console import source
from cluster_dashboard.console.arguments import Suggested, owner_name, whole_number, word_of
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.job_list import job_table
from cluster_dashboard.console.screen import console
from scheduler.catalogue import catalogue
from scheduler.jobs.admission import COUNT_MAXIMUM
from scheduler.rules.states import JobState, Priority


class Command(ConsoleCommand):
    help = "Lists jobs, newest first."
    examples = """\
  gpuc jobs
  gpuc jobs --state failed --limit 100
  gpuc jobs --owner ada
  gpuc jobs --state running --json | jq '.jobs[].gpu'
  gpuc jobs --before 1200      further back: jobs with a smaller id"""
    option_names = {"type": "--type"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--state", metavar="S", type=word_of(JobState), help=", ".join(JobState))
        parser.add_argument(
            "--type", metavar="T", type=Suggested((*catalogue(),)), help="a job type, of today or of jobs of the past"
        )
        parser.add_argument("--priority", metavar="P", type=word_of(Priority), help=", ".join(Priority))
        parser.add_argument(
            "--owner",
            metavar="NAME",
            type=owner_name,
            help="who submitted them: a user, a token, or the unix user of a command; '' for the generator's",
        )
        parser.add_argument(
            "--limit",
            metavar="N",
            type=whole_number(1, COUNT_MAXIMUM),
            default=20,
            help=f"the maximum number of jobs, 1 to {COUNT_MAXIMUM} (default: 20)",
        )
        parser.add_argument("--before", metavar="ID", type=whole_number(1, BIGINT_MAXIMUM), help="only smaller ids")
        parser.add_argument("--json", action="store_true", help="print JSON only, with the API's fields")

    def answer(self, **options: Any) -> int:
        page = source.jobs(
            state=options["state"],
            job_type=options["type"],
            priority=options["priority"],
            owner=options["owner"],
            before=options["before"],
            limit=options["limit"],
        )
        if options["json"]:
            summaries = [job.model_dump(mode="json") for job in page.jobs]
            self.say_json({"jobs": summaries, "next_before": page.next_before})
        elif not page.jobs:
            self.note("no such jobs")
        else:
            console(self.stdout, no_color=options["no_color"]).print(job_table(page.jobs, source.now()))
            if page.next_before is not None:
                self.note(f"there are more: --before {page.next_before}, or a larger --limit")
        return 0
