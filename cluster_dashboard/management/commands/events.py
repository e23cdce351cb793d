"""`gpuc events`: what happened to the cluster, as a log."""

from __future__ import annotations

import shutil
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any, Final

from cluster_dashboard.console import source
from cluster_dashboard.console.arguments import moment_or_age, whole_number
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.event_list import event_json, event_line, unknown_kind
from cluster_dashboard.console.exit_codes import EXIT_INTERRUPTED
from cluster_dashboard.console.source import EventRow
from cluster_dashboard.console.text import unknown_gpu
from scheduler.job_type import ParamsInvalid

#: The most that one call prints before it follows.
PRINTED_MAXIMUM: Final = 10_000

#: Between two looks with --follow.
EVENT_LOOK_SECONDS: Final = 1.0


class Command(ConsoleCommand):
    help = "Prints what happened to the cluster, oldest first: controls with who changed them, deaths, faults. UTC."
    examples = """\
  gpuc events
  gpuc events --since 30m --gpu 3
  gpuc events --kind fault --limit 200
  gpuc events --follow --json | jq .message

exit status: 0 shown, 2 bad input, 3 the database is unavailable, 130 Ctrl-C while it follows"""
    option_names = {"kind": "--kind", "gpu": "--gpu"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--limit",
            metavar="N",
            type=whole_number(1, PRINTED_MAXIMUM),
            default=50,
            help=f"the maximum number of events, 1 to {PRINTED_MAXIMUM} (default: 50)",
        )
        parser.add_argument(
            "--since", metavar="T", type=moment_or_age, help="only later ones: an ISO time, or an age: 90s, 15m, 2h, 7d"
        )
        parser.add_argument("--kind", metavar="K", help="only events of this kind, such as fault")
        parser.add_argument("--gpu", metavar="N", type=whole_number(0, 32_767), help="only events of this GPU")
        parser.add_argument("--follow", "-f", action="store_true", help="print new events until Ctrl-C")
        parser.add_argument("--json", action="store_true", help="print JSON only, one object a line")

    def answer(self, **options: Any) -> int:
        kind, gpu = options["kind"], options["gpu"]
        _check(None if options["follow"] else kind, gpu)
        # Before the look at the old ones: an event between the two looks is printed once or twice, never missed.
        new = source.new_events(kind=kind, gpu=gpu) if options["follow"] else iter(())
        next(new, None)
        old = source.events(since=options["since"], kind=kind, gpu=gpu, limit=options["limit"])
        self._print(old, json=options["json"])
        printed = {event.id for event in old}
        try:
            for events in new:
                self._print((event for event in events if event.id not in printed), json=options["json"])
                time.sleep(EVENT_LOOK_SECONDS)
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        return 0

    def _print(self, events: Iterable[EventRow], *, json: bool) -> None:
        width = shutil.get_terminal_size().columns if self.stdout.isatty() else None
        for event in events:
            self.say(event_json(event) if json else event_line(event, width))


def _check(kind: str | None, gpu: int | None) -> None:
    """A mistyped word would show an empty log. (With --follow, the first event of a kind may be yet to come.)"""
    if gpu is not None and gpu not in (known := source.gpu_indexes()):
        raise ParamsInvalid("gpu", unknown_gpu(gpu, known))
    if kind is not None and kind not in (kinds := source.event_kinds()):
        raise ParamsInvalid("kind", unknown_kind(kind, kinds))
