"""`gpuc chaos`: breaks the running cluster on purpose, and shows how it recovers."""

from __future__ import annotations

import logging
import os
import platform
import signal
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NoReturn

from django.core.management.base import CommandError
from redis.exceptions import RedisError

from cluster_dashboard.chaos.catalogue import SCENARIOS
from cluster_dashboard.chaos.play import Rehearsal, counts_that_do_not_add_up, others_jobs
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.scorecard import Outcome, Scorecard
from cluster_dashboard.chaos.table import described, line, table
from cluster_dashboard.console.arguments import OneOf, above_zero
from cluster_dashboard.console.command import ConsoleCommand, check_database_is_there
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNAVAILABLE
from cluster_dashboard.console.screen import console
from scheduler.models import Gpu

MINUTES_MAXIMUM: Final = 7 * 24 * 60


class Command(ConsoleCommand):
    help = """\
Breaks the running cluster of this STATE_DIR on purpose, one scenario after the other: load, injection, heal, wait
until every job has ended, verdict. A scenario passes if nothing was lost or done twice and every promised time was
kept; what cannot be done from here is skipped, with the reason."""
    examples = """\
  gpuc chaos kill_worker pause_worker --seed 7
  gpuc chaos --all --json > scorecard.json
  gpuc chaos --all --minutes 60

exit status: 0 all passed (or were skipped); 1 one failed; 2 bad input, nothing was done; 3 the cluster does not run;
             130 Ctrl-C, after healing"""
    needs_database = False  # before its arguments are checked
    log_level = logging.ERROR  # its own kills would be between the lines

    def epilog(self) -> str:
        return f"scenarios:\n{described(SCENARIOS)}\n\n{super().epilog()}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", type=OneOf((*SCENARIOS,)), help="scenarios, in this order"
        )
        parser.add_argument("--all", action="store_true", help="every scenario")
        parser.add_argument("--seed", type=int, default=1, metavar="N", help="of targets and moments (default: 1)")
        parser.add_argument(
            "--minutes",
            type=above_zero(MINUTES_MAXIMUM),
            metavar="M",
            help="plays the scenarios in random order for M minutes",
        )
        parser.add_argument("--json", action="store_true", help="print JSON only, at the end")
        parser.add_argument(
            "--yes", action="store_true", help="also with other people's jobs in the cluster, or on real GPUs"
        )

    def answer(self, **options: Any) -> int:
        chosen = _chosen(options["names"], everything=options["all"])
        check_database_is_there()
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return self._run(chosen, **options)
        except BrokenPipeError:
            raise
        except (RedisError, OSError) as error:
            raise CommandError(f"the cluster is unavailable: {error}", returncode=EXIT_UNAVAILABLE) from None

    def _run(self, chosen: list[Scenario], **options: Any) -> int:
        rehearsal = _begin(options["seed"])
        _check_consent(yes=options["yes"])
        screen = console(self.stdout, no_color=options["no_color"])
        screen.quiet = options["json"]
        cards: list[Scorecard] = []
        interrupted = False
        try:
            for scenario, played in _order(chosen, options["seed"], options["minutes"], cards):
                cards.append(rehearsal.play(scenario, played))
                screen.print(line(cards[-1]), soft_wrap=True)
        except KeyboardInterrupt:
            interrupted = True
        wrong = counts_that_do_not_add_up()
        screen.print()
        screen.print(table(cards))
        screen.print(_summary(cards, wrong), style="bold")
        if options["json"]:
            self.say_json(_as_dict(cards, wrong, options["seed"]))
        if interrupted:
            return EXIT_INTERRUPTED
        return EXIT_FAILED if wrong or any(card.outcome is Outcome.FAIL for card in cards) else 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _chosen(names: list[str], *, everything: bool) -> list[Scenario]:
    if everything and names:
        raise CommandError("NAME: accepted without --all only", returncode=EXIT_BAD_INPUT)
    if not everything and not names:
        words = f"NAME: expected at least one of {', '.join(SCENARIOS)}, or --all"
        raise CommandError(words, returncode=EXIT_BAD_INPUT)
    return list(SCENARIOS.values()) if everything else [SCENARIOS[name] for name in names]


def _begin(seed: int) -> Rehearsal:
    rehearsal = Rehearsal.begin(seed)
    if not rehearsal.before.scheduler or not rehearsal.before.gpus:
        missing = "no GPU worker beats" if rehearsal.before.scheduler else "no scheduler acts"
        raise CommandError(
            f"the cluster does not run here: {missing}; start it first (make run)", returncode=EXIT_UNAVAILABLE
        )
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
        raise CommandError(f"{' and '.join(reasons)}: add --yes to play it all the same", returncode=EXIT_BAD_INPUT)


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
