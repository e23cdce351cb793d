"""`manage.py inject`: one fault on one GPU, now."""

from __future__ import annotations

import logging
from argparse import RawDescriptionHelpFormatter
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError

from gpu_tasks.faults.injection import HANG_SECONDS, NothingToHit
from gpu_tasks.faults.requests import inject
from gpu_tasks.processes.cluster_pids import OutOfReach
from scheduler.redis_client import connect
from scheduler.rules.faults import FAULTS, FaultKind

EXIT_NOT_DONE: Final = 1
EXIT_BAD_INPUT: Final = 2
SECONDS_MAXIMUM: Final = 3600.0


class Command(BaseCommand):
    help = "Carries one fault out on one GPU's worker, whoever's job it runs: for real, and at once."
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kinds = "\n".join(f"  {kind:<16}{FAULTS[kind].label}" for kind in FaultKind)
        epilog = f"""faults:
{kinds}

examples:
  manage.py inject worker_killed --gpu 3
  manage.py inject worker_hung --gpu 0 --seconds 15

exit status: 0 carried out (or asked for, where the worker runs in another container); 1 nobody to hit; 2 bad input"""
        kwargs = {"formatter_class": RawDescriptionHelpFormatter, "epilog": epilog, **kwargs}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", metavar="FAULT", help=", ".join(FaultKind))
        parser.add_argument("--gpu", type=int, required=True, metavar="N", help="its index")
        parser.add_argument(
            "--seconds",
            type=float,
            default=HANG_SECONDS,
            metavar="S",
            help=f"how long worker_hung lasts (default: {HANG_SECONDS:g})",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        logging.getLogger().setLevel(logging.ERROR)
        kind, gpu, seconds = options["kind"], options["gpu"], options["seconds"]
        if kind not in set(FaultKind):
            raise CommandError(f"{kind}: no such fault; faults are {', '.join(FaultKind)}", returncode=EXIT_BAD_INPUT)
        if not 0 < seconds <= SECONDS_MAXIMUM:
            words = f"--seconds: {seconds:g} is not a number above 0 and up to {SECONDS_MAXIMUM:g}"
            raise CommandError(words, returncode=EXIT_BAD_INPUT)
        try:
            inject(FaultKind(kind), gpu, connect(), actor="cli", hang_seconds=seconds)
        except (OutOfReach, NothingToHit, RedisError, OSError) as error:
            raise CommandError(str(error), returncode=EXIT_NOT_DONE) from None
        self.stdout.write(f"GPU {gpu}: {FAULTS[FaultKind(kind)].label.lower()}")
