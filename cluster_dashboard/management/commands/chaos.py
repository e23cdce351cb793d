"""`manage.py chaos`: breaks the running cluster on purpose, and says how it took it."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import sys
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NoReturn, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError
from rich.console import Console

from cluster_dashboard.chaos.catalogue import SCENARIOS
from cluster_dashboard.chaos.play import Rehearsal, counts_that_do_not_add_up, others_jobs
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.scorecard import Outcome, Scorecard
from cluster_dashboard.chaos.table import described, line, table
from scheduler.database_errors import DatabaseFailure
from scheduler.models import Gpu

EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2
#: The cluster does not run, or its database or broker does not answer.
EXIT_AWAY: Final = 3
#: Ctrl-C, in the shells' words: 128 + SIGINT.
EXIT_INTERRUPTED: Final = 130

#: Columns of a pipe: the reader decides what to cut.
PIPE_WIDTH: Final = 10_000
MINUTES_MAXIMUM: Final = 7 * 24 * 60


class Command(BaseCommand):
    help = """\
Breaks the running cluster of this STATE_DIR on purpose, one scenario after the other: load, injection, heal, wait
until every job has ended, verdict. A scenario passes if nothing was lost or done twice and every promised time was
kept; what cannot be done from here is skipped, and says why."""
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        epilog = f"""scenarios:
{described(SCENARIOS)}

examples:
  manage.py chaos kill_worker pause_worker --seed 7
  manage.py chaos --all --json > scorecard.json
  manage.py chaos --all --minutes 60

exit status: 0 all passed (or were skipped); 1 one failed; 2 bad input, nothing was done; 3 the cluster does not run;
             130 Ctrl-C, after healing"""
        kwargs = {"formatter_class": RawDescriptionHelpFormatter, "epilog": epilog, **kwargs}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios, in this order")
        parser.add_argument("--all", action="store_true", help="every scenario")
        parser.add_argument("--seed", type=int, default=1, metavar="N", help="of targets and moments (default: 1)")
        parser.add_argument(
            "--minutes", type=float, metavar="M", help="plays the scenarios in random order for so long"
        )
        parser.add_argument("--json", action="store_true", help="print JSON only, at the end")
        parser.add_argument(
            "--yes", action="store_true", help="also with other people's jobs in the cluster, or on real GPUs"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        logging.getLogger().setLevel(logging.ERROR)  # its own kills would stand between the lines
        chosen = _chosen(options["names"], everything=options["all"])
        _check_minutes(options["minutes"])
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            sys.exit(self._run(chosen, **options))
        except (DatabaseFailure, RedisError, OSError) as error:
            raise CommandError(f"the cluster does not answer: {error}", returncode=EXIT_AWAY) from None

    def _run(self, chosen: list[Scenario], **options: Any) -> int:
        rehearsal = _begin(options["seed"])
        _check_consent(yes=options["yes"])
        terminal = self.stdout.isatty()
        self.stdout.ending, self.stdout.style_func = "", None  # rich writes parts of lines, in styles of its own
        console = Console(
            file=cast(Any, self.stdout),
            width=None if terminal else PIPE_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
            quiet=options["json"],
        )
        cards: list[Scorecard] = []
        interrupted = False
        try:
            for scenario, played in _order(chosen, options["seed"], options["minutes"], cards):
                cards.append(rehearsal.play(scenario, played))
                console.print(line(cards[-1]), soft_wrap=True)
        except KeyboardInterrupt:
            interrupted = True
        wrong = counts_that_do_not_add_up()
        console.print()
        console.print(table(cards))
        console.print(_summary(cards, wrong), style="bold")
        if options["json"]:
            self.stdout.write(json.dumps(_as_dict(cards, wrong, options["seed"]), indent=2) + "\n")
        if interrupted:
            return EXIT_INTERRUPTED
        return EXIT_FAILED if wrong or any(card.outcome is Outcome.FAIL for card in cards) else 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _chosen(names: list[str], *, everything: bool) -> list[Scenario]:
    known = f"scenarios are {', '.join(SCENARIOS)}"
    if everything and names:
        raise CommandError("give names or --all, not both", returncode=EXIT_BAD_INPUT)
    if not everything and not names:
        raise CommandError(f"which one? Give names, or --all; {known}", returncode=EXIT_BAD_INPUT)
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise CommandError(f"{', '.join(unknown)}: no such scenario; {known}", returncode=EXIT_BAD_INPUT)
    return list(SCENARIOS.values()) if everything else [SCENARIOS[name] for name in names]


def _check_minutes(minutes: float | None) -> None:
    if minutes is not None and not 0 < minutes <= MINUTES_MAXIMUM:
        words = f"--minutes: {minutes:g} is not a number of minutes above 0 and up to {MINUTES_MAXIMUM}"
        raise CommandError(words, returncode=EXIT_BAD_INPUT)


def _begin(seed: int) -> Rehearsal:
    rehearsal = Rehearsal.begin(seed)
    if not rehearsal.before.scheduler or not rehearsal.before.gpus:
        missing = "no GPU worker beats" if rehearsal.before.scheduler else "no scheduler acts"
        raise CommandError(f"the cluster does not run here: {missing}; start it first (make run)", returncode=EXIT_AWAY)
    return rehearsal


def _check_consent(*, yes: bool) -> None:
    """A rehearsal on what matters to somebody must be meant."""
    if yes:
        return
    reasons = []
    if others := others_jobs():
        reasons.append(f"{others} waiting or running jobs are not of a rehearsal")
    if Gpu.objects.filter(backend="nvml").exists():
        reasons.append("the GPUs are real")
    if reasons:
        raise CommandError(f"{' and '.join(reasons)}: give --yes if you mean it", returncode=EXIT_BAD_INPUT)


def _order(
    chosen: list[Scenario], seed: int, minutes: float | None, cards: list[Scorecard]
) -> Iterator[tuple[Scenario, int]]:
    """Each with how often it was played before: once each, or at random until the time is over."""
    if minutes is None:
        yield from ((scenario, 0) for scenario in chosen)
        return
    deadline, rng = time.monotonic() + 60 * minutes, Random(f"chaos:{seed}")
    pool = list(chosen)
    while pool and time.monotonic() < deadline:
        scenario = rng.choice(pool)
        yield scenario, sum(card.scenario == scenario.name for card in cards)
        if cards and cards[-1].outcome is Outcome.SKIPPED:
            pool.remove(scenario)  # it would be skipped each time


def _summary(cards: list[Scorecard], wrong: list[str]) -> str:
    counts = {outcome: sum(card.outcome is outcome for card in cards) for outcome in Outcome}
    words = f"{counts[Outcome.PASS]} passed, {counts[Outcome.FAIL]} failed, {counts[Outcome.SKIPPED]} skipped"
    return "; ".join([words, *wrong])


def _as_dict(cards: list[Scorecard], wrong: list[str], seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "gpus": Gpu.objects.count(),
        "passed": sum(card.outcome is Outcome.PASS for card in cards),
        "failed": sum(card.outcome is Outcome.FAIL for card in cards),
        "skipped": sum(card.outcome is Outcome.SKIPPED for card in cards),
        "counts_that_do_not_add_up": wrong,
        "scorecards": [card.as_dict() for card in cards],
    }
