"""The scorecards as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.scorecard import Outcome, Scorecard

STYLE: Final = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.SKIPPED: "yellow"}
NOTHING: Final = "-"


def line(card: Scorecard) -> Text:
    """One scorecard, printed as soon as its scenario has ended."""
    words = [f"{card.scenario:<28}", f"detected {_seconds(card.detected_seconds)}"]
    words += [f"recovered {_seconds(card.recovered_seconds)}", f"wasted {card.wasted_gpu_seconds:.1f} GPU-s"]
    text = Text(f"{card.outcome.value.upper():<8}", style=STYLE[card.outcome])
    text.append("  ".join(words), style="default")
    for reason in card.reasons:
        text.append(f"\n        {reason}", style=STYLE[card.outcome])
    return text


def table(cards: Sequence[Scorecard]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("scenario", "verdict"):
        made.add_column(name, no_wrap=True)
    for name in ("detected s", "promised", "recovered s", "promised", "wasted GPU-s", "jobs", "took s"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("notes", overflow="fold")
    for card in cards:
        made.add_row(
            Text(card.scenario),
            Text(card.outcome.value.upper(), style=STYLE[card.outcome]),
            *map(Text, _figures(card)),
            Text("; ".join([*card.reasons, *_facts(card.facts)])),
        )
    return made


def described(scenarios: dict[str, Scenario]) -> str:
    width = max(map(len, scenarios))
    return "\n".join(f"  {name:<{width}}  {scenario.summary}" for name, scenario in scenarios.items())


def _figures(card: Scorecard) -> list[str]:
    since = " after heal" if card.promise.recovered_seconds and card.promise.since.value == "heal" else ""
    return [
        _seconds(card.detected_seconds),
        _limit(card.promise.detected_seconds),
        _seconds(card.recovered_seconds),
        f"{_limit(card.promise.recovered_seconds)}{since}",
        f"{card.wasted_gpu_seconds:.1f}",
        str(card.jobs),
        f"{card.took_seconds:.0f}",
    ]


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _limit(value: float | None) -> str:
    return NOTHING if value is None else f"{value:g}"


def _facts(facts: dict[str, Any]) -> list[str]:
    return [f"{name.replace('_', ' ')} {value}" for name, value in facts.items()]
