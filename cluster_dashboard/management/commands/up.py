"""`gpuc up`: the whole cluster on this machine, until Ctrl-C."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from cluster_dashboard.console.arguments import Suggested
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.operations import first_start
from scheduler.workloads.read import profile_names


class Command(ConsoleCommand):
    help = "Runs the whole cluster on this machine: broker, scheduler, beat, GPU workers, web and Flower."
    examples = """\
  gpuc up                       # as make run does
  gpuc up --config helios

exit status: 0 stopped, 1 it is already running here, 2 bad input or a wrong setting, 3 a server is unavailable"""
    needs_database = False
    log_level = None

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--config",
            metavar="FILE",
            type=Suggested((*profile_names(),)),
            help="what the generator submits: a file, or the name of a workload; overrides GENERATOR_CONFIG",
        )

    def answer(self, **options: Any) -> int:
        from cluster_dashboard.operations.supervisor import guardian  # noqa: PLC0415 (only what runs needs it)

        if options["config"]:
            # Every process is forked from this one: they all see it.
            settings.GENERATOR_CONFIG = options["config"]
        first_start.report_foreign_variables()
        first_start.begin()
        # Once for all processes, and after the state folder is there: some checks open the database.
        self.check()
        return guardian.guard_supervisor()
