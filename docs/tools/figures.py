"""The tables of the documentation that come from committed results: what was measured, and the limits it kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, Final

from docs.tools.pages import ROOT, table

RESULTS: Final = ROOT / "tests" / "benchmarks" / "results"
SEEDS: Final = ("chaos-seed-1", "chaos-seed-2", "chaos-seed-3")

DATABASES: Final = (("sqlite", "SQLite"), ("postgresql", "PostgreSQL"))

Card = dict[str, Any]


def read(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def link(name: str) -> str:
    return f"[{name}.json](../tests/benchmarks/results/{name}.json)"


# --- chaos ----------------------------------------------------------------------------------------


def worst_of_three() -> str:
    """Each scenario with the largest figures of the three runs, and its limits."""
    runs = [read(name) for name in SEEDS]
    rows = [_row(_cards(runs, name)) for name in _names()]
    header = ("scenario", "detected, s", "recovered, s", "GPU-seconds wasted")
    return f"{_conditions(runs)}\n\n{table(header, rows)}"


def in_compose() -> str:
    run = read("chaos-compose")
    rows = [_row([card]) for card in run["scorecards"] if card["verdict"] != "skipped"]
    skipped = ", ".join(f"`{card['scenario']}`" for card in run["scorecards"] if card["verdict"] == "skipped")
    header = ("scenario", "detected, s", "recovered, s", "GPU-seconds wasted")
    counts = f"{run['gpus']} simulated GPUs, PostgreSQL: {_counts([run])} ({link('chaos-compose')})."
    return f"{counts}\n\n{table(header, rows)}\n\nSkipped there: {skipped}."


def at_random() -> str:
    """Minutes of scenarios in random order: how each figure spreads."""
    run = read("chaos-minutes")
    cards: list[Card] = run["scorecards"]
    rows = []
    for name in dict.fromkeys(card["scenario"] for card in cards):
        some = [card for card in cards if card["scenario"] == name]
        rows += [
            _spread(name, "job is back in its queue", some, "detected_seconds", "detected_promise_seconds"),
            _spread(name, "job runs elsewhere", some, "recovered_seconds", "recovered_promise_seconds"),
        ]
    intro = f"`gpuc {run['command'].removeprefix('manage.py ')}`: {_counts([run])} ({link('chaos-minutes')})."
    return f"{intro}\n\n{table(('scenario', 'what', 'times', 'minimum', 'median', 'maximum', 'limit'), rows)}"


def guarantees() -> str:
    """The rows of the README: what is promised, how it is kept, and the worst that was measured."""
    runs = [read(name) for name in SEEDS]

    def worst(scenario: str, field: str) -> str:
        cards = _cards(runs, scenario)
        return f"{_largest(cards, field)} s of {_limit(cards, field.replace('_seconds', '_promise_seconds'))} s"

    played, failed = sum(run["passed"] + run["failed"] for run in runs), sum(run["failed"] for run in runs)
    clean = f"{failed} of {played} scenario runs failed"
    rows = [
        ("No job is lost", "the database row is the job; lost hints are sent again", clean),
        ("No job has two results", "each write shows its attempt; late ones are refused", clean),
        (
            "A killed job process: job requeued",
            "the worker watches its process",
            worst("kill_child", "detected_seconds"),
        ),
        (
            "A killed worker: job runs elsewhere",
            "the next worker of that GPU, or the reaper",
            worst("kill_worker", "recovered_seconds"),
        ),
        (
            "A hung worker: job runs elsewhere",
            "no heartbeat for 9 s",
            worst("pause_worker", "recovered_seconds"),
        ),
        (
            "A frozen broker: submitting goes on",
            "hints are sent later",
            f"{_slowest_submit(runs, 'freeze_broker')} s at most",
        ),
    ]
    return table(("guarantee", "kept by", "worst measured"), rows)


def _slowest_submit(runs: Sequence[dict[str, Any]], scenario: str) -> str:
    cards = _cards(runs, scenario)
    return f"{max(card['facts']['slowest_submit_seconds'] for card in cards):.2f}"


def _cards(runs: Iterable[dict[str, Any]], scenario: str) -> list[Card]:
    return [card for run in runs for card in run["scorecards"] if card["scenario"] == scenario]


def _names() -> list[str]:
    return [card["scenario"] for card in read(SEEDS[0])["scorecards"]]


def _row(cards: list[Card]) -> tuple[str, ...]:
    """One scenario; the figures of one that was skipped everywhere are unknown."""
    played = [card for card in cards if card["verdict"] != "skipped"]
    since = " after the heal" if played and played[0]["recovered_since"] == "heal" else ""
    return (
        f"`{cards[0]['scenario']}`" + ("" if played else " (skipped)"),
        _with_limit(played, "detected_seconds", "detected_promise_seconds"),
        _with_limit(played, "recovered_seconds", "recovered_promise_seconds") + since,
        _largest(played, "wasted_gpu_seconds") if played else "-",
    )


def _with_limit(cards: list[Card], field: str, limit: str) -> str:
    found = _largest(cards, field)
    return found if found == "-" or cards[0][limit] is None else f"{found} (limit {_limit(cards, limit)})"


def _largest(cards: Iterable[Card], field: str) -> str:
    known = [card[field] for card in cards if card[field] is not None]
    return f"{max(known):.1f}" if known else "-"


def _limit(cards: Sequence[Card], field: str) -> str:
    return f"{cards[0][field]:g}"


def _spread(scenario: str, what: str, cards: list[Card], field: str, limit: str) -> tuple[str, ...]:
    known = [card[field] for card in cards]
    figures = (f"{value:.2f}" for value in (min(known), median(known), max(known)))
    return (f"`{scenario}`", what, str(len(known)), *figures, _limit(cards, limit))


def _conditions(runs: list[dict[str, Any]]) -> str:
    loads = [load for run in runs for load in run["load_average"]]
    links = ", ".join(link(name) for name in SEEDS)
    where = f"{runs[0]['gpus']} simulated GPUs, SQLite, {runs[0]['machine'].split(', ')[1]}"
    return f"{where}, load average {min(loads):.0f} to {max(loads):.0f}: {_counts(runs)} ({links})."


def _counts(runs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{sum(run[word] for run in runs)} {word}" for word in ("passed", "failed", "skipped"))


# --- what the protocol and the verdict cost ---------------------------------------------------------


def protocol() -> str:
    rows = []
    for database, words in DATABASES:
        run = read(f"protocol-{database}")
        speed, delay = run["drain_jobs_per_second"], run["start_latency_ms"]
        p50 = {name: value["p50"] for name, value in delay.items() if isinstance(value, dict)}
        ratios = {"ratio": delay["ratio_p50"], "ratio_with_results": delay["ratio_p50_with_results"]}
        rows.append((f"jobs without work per second, {words}", *_side_by_side(speed)))
        rows.append((f"submit to start on an idle cluster, p50 in ms, {words}", *_side_by_side(p50 | ratios)))
    header = ("", "this cluster", "bare Celery", "Celery with results in the database", "ratio to each")
    cores = read("protocol-sqlite")["machine"].split(", ")[1]
    return f"{table(header, rows)}\n\n{_links('protocol')}, on {cores}."


def _side_by_side(values: dict[str, Any]) -> tuple[str, ...]:
    figures = (f"{values[name]:,}" for name in ("ours", "bare_celery", "celery_with_results"))
    return (*figures, f"{values['ratio']:.2f}, {values['ratio_with_results']:.2f}")


def verdict() -> str:
    rows = []
    for database, words in DATABASES:
        run = read(f"verdict-{database}")
        times = (f"{run['cpu_seconds']:g}", f"{run['seconds']:g}")
        rows.append((words, f"{run['jobs']:,}", *times, str(run["peak_memory_mib"])))
    header = ("database", "jobs", "processor time, s", "elapsed, s", "memory, MiB")
    return f"{table(header, rows)}\n\n{_links('verdict')}."


def _links(name: str) -> str:
    return "From " + " and ".join(link(f"{name}-{database}") for database, _ in DATABASES)
