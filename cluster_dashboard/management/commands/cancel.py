"""`gpuc cancel`: ends jobs that wait or run."""

from __future__ import annotations

from argparse import ArgumentParser
from itertools import batched
from typing import Any, Final

from django.core.management.base import CommandError

from cluster_dashboard.console.arguments import job_ids
from cluster_dashboard.console.command import ConsoleCommand, actor
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED
from cluster_dashboard.console.text import counted, ranges
from scheduler.jobs.admission import COUNT_MAXIMUM
from scheduler.jobs.lifecycle import CancelOutcome, cancel
from scheduler.jobs.submit import ROWS_PER_TRANSACTION
from scheduler.models import Job

#: What each outcome is called, in the order in which they are said.
WORDS: Final = {
    CancelOutcome.CANCELLED: "cancelled",
    CancelOutcome.REQUESTED: "running, its worker stops it now",
    CancelOutcome.ALREADY_ENDED: "had already ended",
}


class Command(ConsoleCommand):
    help = """\
Cancels jobs. One that waits ends at once; one that runs is stopped by its worker, unless it ends first.
If one of the ids is not known, nothing is cancelled."""
    examples = """\
  gpuc cancel 17
  gpuc cancel 17 203-214       as `submit` prints them

exit status: 0 cancelled or about to be, 1 a job is not known or had already ended, 2 bad input,
             3 the database is unavailable"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", metavar="ID", nargs="+", type=job_ids, help="a job's id, or a range such as 17-20")
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def answer(self, **options: Any) -> int:
        wanted = sorted({job_id for some in options["ids"] for job_id in some})
        if len(wanted) > COUNT_MAXIMUM:
            raise CommandError(f"ID: at most {COUNT_MAXIMUM} jobs are accepted at once", returncode=EXIT_BAD_INPUT)
        refuse_unknown(wanted)
        outcomes = {job_id: cancel(job_id, actor=actor()) for job_id in wanted}
        if options["json"]:
            self.say_json({"jobs": [{"id": job_id, "outcome": outcome} for job_id, outcome in outcomes.items()]})
        else:
            for outcome, words in WORDS.items():
                ids = [job_id for job_id in wanted if outcomes[job_id] is outcome]
                if ids:
                    self.say(f"{'job' if len(ids) == 1 else 'jobs'} {ranges(ids)}: {words}")
        return EXIT_FAILED if CancelOutcome.ALREADY_ENDED in outcomes.values() else 0


def refuse_unknown(wanted: list[int]) -> None:
    known: set[int] = set()
    for some in batched(wanted, ROWS_PER_TRANSACTION):
        known.update(Job.objects.filter(id__in=some).values_list("id", flat=True))
    unknown = [job_id for job_id in wanted if job_id not in known]
    if unknown:
        others = (
            f"; {counted(len(known), 'other job')} left as {'it is' if len(known) == 1 else 'they are'}"
            if known
            else ""
        )
        raise CommandError(f"there is no job {ranges(unknown)}{others}", returncode=EXIT_FAILED)
