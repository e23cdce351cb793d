"""What drain and undrain share: which GPUs are meant, the change, and its words."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, ClassVar

from cluster_dashboard.console.command import ConsoleCommand, actor
from scheduler.job_type import ParamsInvalid
from scheduler.jobs.controls import change_gpu
from scheduler.models import Gpu


class DrainingCommand(ConsoleCommand):
    """A subclass sets `drained`: the state that it puts the GPUs into."""

    drained: ClassVar[bool]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("index", metavar="GPU", nargs="*", type=int, help="index of a GPU")
        parser.add_argument("--all", action="store_true", help="every GPU of the cluster")
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def answer(self, **options: Any) -> int:
        known = list(Gpu.objects.values_list("index", flat=True))
        indexes = chosen(options["index"], known, every=options["all"])
        for index in indexes:
            change_gpu(index, actor=actor(), drained=self.drained)
        if options["json"]:
            self.say_json([{"index": index, "drained": self.drained} for index in indexes])
        else:
            for index in indexes:
                self.say(f"GPU {index}: {'drained: starts no new job' if self.drained else 'accepts jobs again'}")
        return 0


def chosen(wanted: list[int], known: list[int], *, every: bool) -> list[int]:
    """The indexes that are meant, each once; ParamsInvalid, before anything changes, if one is unknown."""
    accepted = f"accepted: {', '.join(map(str, known)) or 'none, no GPU is registered yet'}"
    if every == bool(wanted):
        raise ParamsInvalid("GPU", f"name one or more GPUs, or --all, not both; {accepted}")
    unknown = [index for index in wanted if index not in known]
    if unknown:
        raise ParamsInvalid("GPU", f"{', '.join(map(str, unknown))} is unknown; {accepted}")
    return list(dict.fromkeys(known if every else wanted))
