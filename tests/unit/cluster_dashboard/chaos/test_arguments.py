"""What is typed wrong ends `chaos` and `inject` in one line, before anything is touched."""

from __future__ import annotations

from random import Random

import pytest
from django.core.management import CommandError, call_command

from cluster_dashboard.chaos.catalogue import SCENARIOS
from cluster_dashboard.chaos.scorecard import Outcome, Promise, Scorecard
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT
from cluster_dashboard.management.commands import chaos


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME: expected at least one of kill_child, .*, or --all"),
        (["nope"], "NAME: 'nope' is not one of kill_child, kill_worker"),
        (["kill_child", "kill_chld"], "'kill_chld' is not one of"),
        (["kill_child", "--all"], "NAME: accepted without --all only"),
        (["--all", "--minutes", "0"], "--minutes: '0' is not a number above 0 and up to 10080"),
        (["--all", "--minutes", "-1"], "--minutes: '-1' is not"),
        (["--all", "--minutes", "nan"], "--minutes: 'nan' is not"),
        (["--all", "--minutes", "inf"], "--minutes: 'inf' is not"),
    ],
)
def test_bad_input_of_chaos_is_told(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words) as caught:
        call_command("chaos", *arguments)

    assert caught.value.returncode == EXIT_BAD_INPUT


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flood", "--gpu", "0"], "FAULT: 'flood' is not one of job_error, "),
        (["worker_hung", "--gpu", "0", "--seconds", "0"], "--seconds: '0' is not a number above 0 and up to 3600"),
        (["worker_hung", "--gpu", "0", "--seconds", "nan"], "--seconds: 'nan' is not"),
    ],
)
def test_bad_input_of_inject_is_told(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words) as caught:
        call_command("inject", *arguments)

    assert caught.value.returncode == EXIT_BAD_INPUT


def test_scenarios_have_names_and_words_of_their_own() -> None:
    assert all(name == scenario.name for name, scenario in SCENARIOS.items())
    assert len({scenario.summary for scenario in SCENARIOS.values()}) == len(SCENARIOS)


def a_card(name: str, outcome: Outcome) -> Scorecard:
    return Scorecard(
        scenario=name,
        seed=1,
        round=0,
        outcome=outcome,
        reasons=(),
        detected_seconds=None,
        recovered_seconds=None,
        promise=Promise(),
        wasted_gpu_seconds=0,
        jobs=0,
        took_seconds=0,
    )


def played(seed: int, count: int, outcomes: dict[str, Outcome] | None = None) -> list[tuple[str, int]]:
    """The first `count` scenarios of a run over minutes, each with how often it was played before."""
    cards: list[Scorecard] = []
    found = []
    for scenario, before in chaos._order(list(SCENARIOS.values()), seed, 60, cards):
        found.append((scenario.name, before))
        cards.append(a_card(scenario.name, (outcomes or {}).get(scenario.name, Outcome.PASS)))
        if len(found) == count:
            return found
    return found


def test_minutes_play_the_same_scenarios_for_the_same_seed() -> None:
    assert played(7, 40) == played(7, 40) != played(8, 40)


def test_a_scenario_that_is_played_again_throws_other_dice() -> None:
    rounds = played(7, 100)

    assert len(set(rounds)) == len(rounds)
    assert max(before for _, before in rounds) > 0


def test_a_scenario_that_was_skipped_is_not_tried_again() -> None:
    name = Random(0).choice(list(SCENARIOS))

    names = [each for each, _ in played(7, 200, {name: Outcome.SKIPPED})]

    assert names.count(name) <= 1
