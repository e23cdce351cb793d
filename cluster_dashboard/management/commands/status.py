"""`gpuc status`: GPUs, queues and jobs now; on a terminal for as long as one looks."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.live import Live

from cluster_dashboard.console.cluster_view import draw
from cluster_dashboard.console.cluster_watch import Viewer
from cluster_dashboard.console.command import DATABASE_UNAVAILABLE, ConsoleCommand, database_words
from cluster_dashboard.console.exit_codes import EXIT_UNAVAILABLE
from cluster_dashboard.console.screen import console, data
from scheduler.redis_client import SHORT_TIMEOUT_SECONDS, connect

#: Between two looks of the live view.
REFRESH_SECONDS: Final = 1.0


class Command(ConsoleCommand):
    help = """\
Shows the GPUs, the queues, the counts of jobs and the rate. On a terminal it is live until Ctrl-C;
with --once or --json, and where the output is no terminal, it prints once."""
    examples = """\
  gpuc status
  gpuc status --once
  gpuc status --json | jq '.gpus[] | {index, state, utilization_percent}'

exit status: 0 shown; 3 broker or database is unavailable (what the other one knows is shown)"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="print once, on a terminal too")
        parser.add_argument("--json", action="store_true", help="print JSON only, once: the fields of the live page")

    def answer(self, **options: Any) -> int:
        viewer = Viewer(connect(timeout_seconds=SHORT_TIMEOUT_SECONDS))
        screen = console(self.stdout, no_color=options["no_color"])
        if screen.is_terminal and not options["once"] and not options["json"]:
            return live(viewer, screen)
        view = viewer.look()
        if options["json"]:
            self.say_json(view)
        else:
            screen.print(draw(view))
        return 0 if view["broker_error"] is None else EXIT_UNAVAILABLE


def live(viewer: Viewer, screen: Console) -> int:
    """Until Ctrl-C, whatever is unavailable meanwhile; the last view stays on the terminal."""
    seen: RenderableType = data("")
    try:
        with Live(console=screen, screen=True, auto_refresh=False) as shown:
            while True:
                try:
                    seen = draw(viewer.look())
                except DATABASE_UNAVAILABLE as error:
                    seen = data(database_words(error), "bold red")
                shown.update(seen, refresh=True)
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        screen.print(seen)
    return 0
