"""`gpuc up`: the whole cluster on this machine, until Ctrl-C."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from cluster_dashboard.operations import first_start


class Command(BaseCommand):
    help = "Runs the whole cluster on this machine: broker, scheduler, beat, GPU workers, web and Flower."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--config",
            metavar="FILE",
            help="what the generator makes: a file, or the name of a workload; ranks above GENERATOR_CONFIG",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        from cluster_dashboard.operations.supervisor import guardian  # noqa: PLC0415 (only what runs needs it)

        if options["config"]:
            # Every process is forked from this one: they all see it.
            settings.GENERATOR_CONFIG = options["config"]
        first_start.begin()
        # Once for all processes, and after the state folder is there: some checks open the database.
        self.check()
        sys.exit(guardian.guard_supervisor())
