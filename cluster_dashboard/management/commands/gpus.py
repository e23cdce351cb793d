"""`gpuc gpus`: each GPU, what it does and why it accepts no job."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from cluster_dashboard.console import source
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.exit_codes import EXIT_UNAVAILABLE
from cluster_dashboard.console.gpu_list import gpu_table
from cluster_dashboard.console.screen import console


class Command(ConsoleCommand):
    help = "Lists the GPUs: state, job or the reason why it accepts none, readings, age of the last heartbeat."
    examples = """\
  gpuc gpus
  gpuc gpus --json | jq '.gpus[] | select(.state != "busy") | .index'

exit status: 0 shown; 3 the database or the broker is unavailable (what the other one knows is shown)"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON only, with the API's fields")

    def answer(self, **options: Any) -> int:
        gpus = source.gpus()
        if options["json"]:
            self.say_json({"gpus": [gpu.model_dump(mode="json") for gpu in gpus]})
        elif not gpus:
            self.note("no GPU is registered yet")
        else:
            console(self.stdout, no_color=options["no_color"]).print(gpu_table(gpus))
        if gpus and all(gpu.state is None for gpu in gpus):
            self.note("the broker is unavailable: state and readings are unknown")
            return EXIT_UNAVAILABLE
        return 0
