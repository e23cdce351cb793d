"""`gpuc submit`: jobs into the queue, and the wait for their end."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from itertools import batched
from typing import Any, Final

from django.conf import settings
from pydantic.fields import FieldInfo
from redis import Redis

from cluster_dashboard.console.arguments import Suggested, parse_params, time_limit, whole_number, word_of
from cluster_dashboard.console.command import ConsoleCommand, unix_user
from cluster_dashboard.console.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED
from cluster_dashboard.console.screen import console
from cluster_dashboard.console.text import counted, ranges
from cluster_dashboard.console.waiting import ProgressBar, States, follow
from scheduler.broker.hints import SubmittedJob
from scheduler.catalogue import catalogue
from scheduler.jobs import submit as intake
from scheduler.jobs.admission import COUNT_MAXIMUM, job_requests
from scheduler.jobs.room import broker_share_now
from scheduler.jobs.submit import ROWS_PER_TRANSACTION, JobRequest
from scheduler.models import Job
from scheduler.redis_client import connect
from scheduler.rules.job_limits import FAILURE_LIMIT, FAILURE_LIMIT_MAXIMUM, TIME_LIMIT_SECONDS, time_span
from scheduler.rules.states import JobState, Priority, Source

#: Asking the broker is optional: a slow one must not delay the answer.
SEND_TIMEOUT_SECONDS: Final = 0.5

#: Jobs that did not succeed, named one by one.
FAILURES_SHOWN: Final = 10


class Command(ConsoleCommand):
    help = "Submits jobs of a type; with --wait, until each has ended."
    examples = """\
  gpuc submit sleep
  gpuc submit sleep --param seconds=2 --priority high --name my-job
  gpuc submit compute --count 20 --param kernel=prime_sieve --param size=1e6 --wait
  gpuc submit matrix --wait --json | jq '.jobs[0].result'

A parameter's value is read as JSON, and as text where it is none. Ctrl-C during the wait leaves the jobs alone.

exit status: 0 submitted, and with --wait all succeeded; 1 a job failed or was cancelled; 2 bad input, nothing
             was submitted; 3 the database is unavailable; 4 no room for more jobs, nothing was submitted;
             130 Ctrl-C"""
    option_names = {
        "type": "TYPE",
        "params": "--param",
        "priority": "--priority",
        "count": "--count",
        "name": "--name",
        "time_limit_seconds": "--time-limit",
        "max_failures": "--max-failures",
    }

    def epilog(self) -> str:
        return f"job types and their parameters:\n{described_types()}\n\n{super().epilog()}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("type", metavar="TYPE", type=Suggested((*catalogue(),)), help=", ".join(catalogue()))
        parser.add_argument(
            "--priority",
            metavar="P",
            type=word_of(Priority),
            default=Priority.NORMAL,
            help=f"{', '.join(Priority)} (default: normal)",
        )
        self._add_number(parser, "--count", "N", COUNT_MAXIMUM, 1, "the number of equal jobs")
        longest = settings.TIME_LIMIT_MAX_SECONDS
        parser.add_argument(
            "--time-limit",
            metavar="T",
            type=time_limit(longest),
            default=TIME_LIMIT_SECONDS,
            help=f"for each attempt: seconds, or 90s, 30m, 4h, 2d or HH:MM:SS; at most {time_span(longest)} "
            f"(default: {TIME_LIMIT_SECONDS})",
        )
        failures = "fails for good after this number of failures of its process or GPU"
        self._add_number(parser, "--max-failures", "N", FAILURE_LIMIT_MAXIMUM, FAILURE_LIMIT, failures)
        parser.add_argument(
            "--param", metavar="K=V", action="append", default=[], help="a parameter of the type; may be repeated"
        )
        parser.add_argument("--name", metavar="N", help="unique; several jobs are called N-1, N-2, ...")
        parser.add_argument("--wait", action="store_true", help="until each job has ended, with a progress bar")
        parser.add_argument("--json", action="store_true", help="print JSON only, at the end")

    def _add_number(
        self, parser: ArgumentParser, name: str, metavar: str, maximum: int, default: int, words: str
    ) -> None:
        parser.add_argument(
            name,
            metavar=metavar,
            type=whole_number(1, maximum),
            default=default,
            help=f"{words}, 1 to {maximum} (default: {default})",
        )

    def answer(self, **options: Any) -> int:
        requests = job_requests(
            type=options["type"],
            params=parse_params(catalogue()[options["type"]].Params, options["param"]),
            source=Source.CLI,
            owner=unix_user(),
            priority=options["priority"],
            count=options["count"],
            name=options["name"],
            time_limit_seconds=options["time_limit"],
            max_failures=options["max_failures"],
        )
        client = connect(timeout_seconds=SEND_TIMEOUT_SECONDS)
        ids = self._submit(requests, client, as_json=options["json"])
        if not options["json"]:
            self.say(f"submitted {counted(len(ids), f'{options["type"]} job')}: {ranges(ids)}")
        elif not options["wait"]:
            self.say_json({"ids": ids})
        return self._wait(ids, client, **options) if options["wait"] else 0

    def _submit(self, requests: list[JobRequest], client: Redis, *, as_json: bool) -> list[int]:
        """The ids. If it ends on the way, those of the jobs that are in are said all the same."""
        accepted: list[SubmittedJob] = []
        try:
            intake.submit(requests, client=client, broker_share=broker_share_now(client), accepted=accepted)
        finally:
            ids = [job.id for job in accepted]
            if 0 < len(ids) < len(requests):
                self.note(f"only {len(ids)} of {len(requests)} jobs are in: {ranges(ids)}")
                if as_json:
                    self.say_json({"ids": ids})
        return ids

    def _wait(self, ids: list[int], client: Redis, **options: Any) -> int:
        states: States = {}
        interrupted = False
        screen = console(self.stderr, no_color=options["no_color"] or options["json"])
        try:
            with ProgressBar(screen, client, len(ids), shown=not options["json"]) as bar:
                for now in follow(ids, states):
                    bar.show(now)
        except KeyboardInterrupt:
            interrupted = True
        if options["json"]:
            self.say_json({"ids": ids, "jobs": outcomes(ids)})
        if interrupted:
            left = [job_id for job_id in ids if states.get(job_id) in (None, JobState.QUEUED, JobState.RUNNING)]
            self.note(f"stopped waiting; the jobs go on. To end them: gpuc cancel {ranges(left)}")
            return EXIT_INTERRUPTED
        if not options["json"]:
            self._say_outcome(states)
        return 0 if set(states.values()) == {JobState.SUCCEEDED} else EXIT_FAILED

    def _say_outcome(self, states: States) -> None:
        counts = Counter(states.values())
        self.say(", ".join(f"{n} {state}" for state, n in counts.most_common()))
        others = [job_id for job_id, state in states.items() if state != JobState.SUCCEEDED]
        for job in Job.objects.filter(id__in=others[:FAILURES_SHOWN]).order_by("id"):
            reason = f" ({job.reason})" if job.reason else ""
            self.note(f"job {job.id} {job.state}{reason}{f': {job.error}' if job.error else ''}")
        if len(others) > FAILURES_SHOWN:
            self.note(f"and {len(others) - FAILURES_SHOWN} more: gpuc jobs --state failed")


def described_types() -> str:
    """Each type with its parameters and their defaults."""
    lines = []
    for job_type in catalogue().values():
        lines.append(f"  {job_type.name:<16} {job_type.summary}")
        fields = [_described(name, field) for name, field in job_type.Params.model_fields.items()]
        if fields:
            lines.append(f"  {'':<16} {'  '.join(fields)}")
    return "\n".join(lines)


def _described(name: str, field: FieldInfo) -> str:
    """NAME=DEFAULT as one would type it; only NAME where it must be given."""
    return name if field.is_required() else f"{name}={field.get_default(call_default_factory=True)}"


def outcomes(ids: list[int]) -> list[dict[str, Any]]:
    """What each job came to; one that was removed meanwhile is missing."""
    fields = ("id", "name", "state", "reason", "gpu", "attempt", "result", "error")
    return [
        job
        for some in batched(ids, ROWS_PER_TRANSACTION)
        for job in Job.objects.filter(id__in=some).order_by("id").values(*fields)
    ]
