"""Searches for a broken promise: `python -m tests.model.hunt --seconds 600`. Exit code 1: found one.

A process of its own with an empty database and an empty Valkey. What it does depends only on the seed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from typing import Final

#: Examples between two looks at the clock; each round has a seed of its own.
ROUND_EXAMPLES: Final = 10
STEPS: Final = 40


@dataclass(slots=True)
class Found:
    """What a hunt gives; with --json its last line."""

    seconds: float
    rounds: int
    #: The folder of the rules that were judged.
    scheduler: str
    #: Of the last round.
    seed: int
    promise: str | None = None
    words: str = ""


def main() -> int:
    options = _options()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.model.settings"
    import django

    django.setup()
    from django.conf import settings

    from tests.services import ValkeyServer

    settings.BROKER_SOCKET.parent.mkdir(parents=True, exist_ok=True)
    with ValkeyServer(settings.BROKER_SOCKET) as server, server.client() as redis:
        _prepare(redis)
        # From here on: what the imports of others warn of is not ours.
        warnings.simplefilter("error")
        found = hunt(options.seed, options.rounds, options.seconds, shrink=options.shrink)
    print(json.dumps(asdict(found)) if options.json else _sentence(found))
    return 1 if found.promise else 0


def _sentence(found: Found) -> str:
    if found.promise is None:
        return f"Every promise was kept: {found.rounds * ROUND_EXAMPLES} examples in {found.seconds:.0f} s."
    return f"Broken after {found.seconds:.0f} s: {found.words}\nTo see it again: make model SEED={found.seed}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no round later than this")
    parser.add_argument("--rounds", type=int, default=sys.maxsize, help=f"each has {ROUND_EXAMPLES} examples")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="of the first round")
    parser.add_argument("--shrink", action="store_true", help="make what was found as short as possible")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args()


def _prepare(redis: object) -> None:
    from django.core.management import call_command

    from scheduler.jobs.clock import database_now
    from tests.model.clock import Clock
    from tests.model.protocol import Protocol

    call_command("migrate", verbosity=0)
    Protocol.redis, Protocol.clock = redis, Clock()
    Protocol.clock.install()
    Protocol.clock.advance(1.234)
    if database_now() != Protocol.clock.now:
        raise RuntimeError(f"the database says {database_now()}, the model {Protocol.clock.now}")


def hunt(seed: int, rounds: int, seconds: float, *, shrink: bool) -> Found:
    import scheduler

    rules = str(Path(scheduler.__file__).parent)
    begin, done = time.monotonic(), 0
    while done < rounds and time.monotonic() - begin < seconds:
        print(f"round seed={seed + done}", flush=True)
        try:
            _round(seed + done, shrink=shrink)
        except Exception as error:  # noqa: BLE001 (whatever goes wrong in a round is what we hunt)
            traceback.print_exc(file=sys.stdout)
            return Found(round(time.monotonic() - begin, 1), done + 1, rules, seed + done, _promise(error), str(error))
        done += 1
    return Found(round(time.monotonic() - begin, 1), done, rules, seed + done)


def _promise(error: Exception) -> str:
    """The promise that was broken; the error's own name if it is none of the model's."""
    from django.db import IntegrityError

    from tests.model.ledger import PromiseBroken

    if isinstance(error, PromiseBroken):
        return error.promise
    return "no call breaks a constraint" if isinstance(error, IntegrityError) else type(error).__name__


def _round(seed: int, *, shrink: bool) -> None:
    import hypothesis
    from hypothesis import HealthCheck, Phase
    from hypothesis.stateful import run_state_machine_as_test

    from tests.model.protocol import Protocol

    chosen = hypothesis.settings(
        max_examples=ROUND_EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(seed)(Protocol), settings=chosen)


if __name__ == "__main__":
    sys.exit(main())
