"""What drain, undrain, quarantine and release share: which GPUs are meant, the change, and the wait until no job runs
there."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from django.core.management.base import CommandError
from django.db import transaction

from cluster_dashboard.console import source
from cluster_dashboard.console.arguments import above_zero, gpu_index
from cluster_dashboard.console.command import ConsoleCommand, actor
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED
from scheduler.job_type import ParamsInvalid
from scheduler.jobs.controls import change_gpu

#: Between two looks with --wait.
DRAIN_LOOK_SECONDS: Final = 0.5

#: The longest --timeout: a year.
TIMEOUT_MAXIMUM_SECONDS: Final = 365 * 86_400.0


class DrainingCommand(ConsoleCommand):
    """A subclass sets `switch`: what it changes on the GPUs, and the words for it."""

    switch: ClassVar[dict[str, bool]]
    words: ClassVar[str]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("index", metavar="GPU", nargs="*", type=gpu_index, help="index of a GPU")
        parser.add_argument("--all", action="store_true", help="every GPU of the cluster")
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def answer(self, **options: Any) -> int:
        self.report(self.change(options), as_json=options["json"])
        return 0

    def change(self, options: dict[str, Any]) -> list[int]:
        """All of them or none."""
        indexes = chosen(options["index"], source.gpu_indexes(), every=options["all"])
        with transaction.atomic():
            for index in indexes:
                change_gpu(index, actor=actor(), **self.switch)
        return indexes

    def report(self, indexes: Sequence[int], *, as_json: bool) -> None:
        if as_json:
            self.say_json([{"index": index, **self.switch} for index in indexes])
            return
        for index in indexes:
            self.say(f"GPU {index}: {self.words}")


class WaitingDrain(DrainingCommand):
    """Drains, and with --wait ends when no job runs on these GPUs."""

    switch = {"drained": True}
    words = "drained: starts no new job"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--wait", action="store_true", help="end when no job runs there any more")
        parser.add_argument(
            "--timeout",
            metavar="S",
            type=above_zero(TIMEOUT_MAXIMUM_SECONDS),
            help="with --wait: give up after this number of seconds, exit status 1",
        )

    def answer(self, **options: Any) -> int:
        if options["timeout"] is not None and not options["wait"]:
            raise CommandError("--timeout: needs --wait", returncode=EXIT_BAD_INPUT)
        indexes = self.change(options)
        if options["wait"]:
            self._wait(indexes, options["timeout"])
        self.report(indexes, as_json=options["json"])
        return 0

    def _wait(self, indexes: Sequence[int], timeout_seconds: float | None) -> None:
        started, told = time.monotonic(), None
        while running := source.running_on(indexes):
            words = ", ".join(f"job {job} on GPU {gpu}" for gpu, job in running.items())
            if timeout_seconds is not None and time.monotonic() - started >= timeout_seconds:
                raise CommandError(f"after {timeout_seconds:g} s still running: {words}", returncode=EXIT_FAILED)
            if words != told:
                self.note(f"waits for {words}")
            told = words
            time.sleep(DRAIN_LOOK_SECONDS)


def chosen(wanted: list[int], known: list[int], *, every: bool) -> list[int]:
    """The indexes that are meant, each once; ParamsInvalid, before anything changes, if one is unknown."""
    accepted = f"accepted: {', '.join(map(str, known)) or 'none, no GPU is registered yet'}"
    if every == bool(wanted):
        raise ParamsInvalid("GPU", f"name one or more GPUs, or --all, not both; {accepted}")
    unknown = [index for index in wanted if index not in known]
    if unknown:
        raise ParamsInvalid("GPU", f"{', '.join(map(str, unknown))} is unknown; {accepted}")
    return list(dict.fromkeys(known if every else wanted))
