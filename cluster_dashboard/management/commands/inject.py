"""`gpuc inject`: one fault on one GPU, now."""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import CommandError
from redis.exceptions import RedisError

from cluster_dashboard.console import source
from cluster_dashboard.console.arguments import above_zero, gpu_index, word_of
from cluster_dashboard.console.command import ConsoleCommand, actor
from cluster_dashboard.console.exit_codes import EXIT_FAILED, EXIT_UNAVAILABLE
from cluster_dashboard.console.text import unknown_gpu
from gpu_tasks.faults.injection import HANG_SECONDS, NothingToHit
from gpu_tasks.faults.requests import BrokerUnreachable, inject
from gpu_tasks.processes.cluster_pids import OutOfReach
from scheduler.job_type import ParamsInvalid
from scheduler.redis_client import connect
from scheduler.rules.faults import FAULTS, FaultKind

SECONDS_MAXIMUM: Final = 3600.0


class Command(ConsoleCommand):
    help = "Carries out one fault on the worker of one GPU, for real and at once, whichever job it runs."
    examples = """\
  gpuc inject worker_killed --gpu 3
  gpuc inject worker_hung --gpu 0 --seconds 15

exit status: 0 carried out (or requested, where the worker is in another container), 1 there is no worker or no job
             process to hit, 2 bad input, 3 the broker or the database is unavailable"""
    log_level = logging.ERROR

    def epilog(self) -> str:
        kinds = "\n".join(f"  {kind:<16}{FAULTS[kind].label}" for kind in FaultKind)
        return f"faults:\n{kinds}\n\n{super().epilog()}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", metavar="FAULT", type=word_of(FaultKind), help=", ".join(FaultKind))
        parser.add_argument("--gpu", type=gpu_index, required=True, metavar="N", help="index of the GPU")
        parser.add_argument(
            "--seconds",
            type=above_zero(SECONDS_MAXIMUM),
            default=HANG_SECONDS,
            metavar="S",
            help=f"duration of worker_hung (default: {HANG_SECONDS:g})",
        )
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def answer(self, **options: Any) -> int:
        kind, gpu = options["kind"], options["gpu"]
        if gpu not in (known := source.gpu_indexes()):
            raise ParamsInvalid("--gpu", unknown_gpu(gpu, known))
        try:
            inject(kind, gpu, connect(), actor=actor(), hang_seconds=options["seconds"])
        except (BrokerUnreachable, RedisError, OSError) as error:
            raise CommandError(str(error), returncode=EXIT_UNAVAILABLE) from None
        except (OutOfReach, NothingToHit) as error:
            raise CommandError(str(error), returncode=EXIT_FAILED) from None
        if options["json"]:
            self.say_json({"gpu": gpu, "fault": kind})
        else:
            self.say(f"GPU {gpu}: {FAULTS[kind].label.lower()}")
        return 0
