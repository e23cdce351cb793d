"""`gpuc start ROLE`: one process of the cluster, until it is stopped."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cluster_dashboard.operations import first_start, processes
from cluster_dashboard.operations.processes import Role


class Command(BaseCommand):
    help = "Runs one process of the cluster: broker, scheduler, beat, gpu-0 (or gpu --index 0), web or flower."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("role", help="broker, scheduler, beat, gpu-N, web, flower")
        parser.add_argument("--index", type=int, help="which GPU, for role gpu")
        parser.add_argument(
            "--once", action="store_true", help="a GPU worker without its guardian, who starts it again if it is killed"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            process = processes.parse(options["role"], options["index"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        if options["once"] and process.role is not Role.GPU:
            raise CommandError(f"--once: is for GPU workers; {process.name} has no guardian")
        first_start.make_state_dir()
        if process.role is not Role.GPU or options["once"]:
            sys.exit(processes.run(process))
        from cluster_dashboard.operations.supervisor import guardian  # noqa: PLC0415 (no other role needs it)

        sys.exit(guardian.guard(process))
