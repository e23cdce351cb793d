"""`gpuc start ROLE`: one process of the cluster, until it is stopped."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from cluster_dashboard.console.arguments import Suggested, gpu_index
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT
from cluster_dashboard.operations import first_start, processes
from cluster_dashboard.operations.processes import Role


class Command(ConsoleCommand):
    help = "Runs one process of the cluster until it is stopped: broker, scheduler, beat, a GPU worker, web or Flower."
    examples = """\
  gpuc start scheduler
  gpuc start gpu-0
  gpuc start gpu --index 0

exit status: 0 stopped, 2 bad input or a wrong setting, 3 a server is unavailable, 75 another one is still running"""
    needs_database = False
    log_level = None

    def add_arguments(self, parser: ArgumentParser) -> None:
        roles = [f"{role}-0" if role is Role.GPU else str(role) for role in Role]
        parser.add_argument(
            "role", metavar="ROLE", type=Suggested((*roles,)), help="broker, scheduler, beat, gpu-N, web, flower"
        )
        parser.add_argument("--index", metavar="N", type=gpu_index, help="index of the GPU, for the role gpu")
        parser.add_argument(
            "--once", action="store_true", help="a GPU worker without its guardian, which restarts it if it is killed"
        )

    def answer(self, **options: Any) -> int:
        try:
            process = processes.parse(options["role"], options["index"])
        except ValueError as error:
            raise CommandError(f"ROLE: {error}", returncode=EXIT_BAD_INPUT) from None
        if options["once"] and process.role is not Role.GPU:
            words = f"--once: accepted for GPU workers only; {process.name} has no guardian"
            raise CommandError(words, returncode=EXIT_BAD_INPUT)
        first_start.report_foreign_variables()
        first_start.make_state_dir()
        if process.role is not Role.GPU or options["once"]:
            return processes.run(process)
        from cluster_dashboard.operations.supervisor import guardian  # noqa: PLC0415 (no other role needs it)

        return guardian.guard(process)
