"""The verdict as text, JUnit XML and HTML."""

from __future__ import annotations

from html import escape
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from scheduler.verdict.findings import Verdict, VerdictOutcome
from scheduler.verdict.rules import RULES

_WORDS: Final = {
    VerdictOutcome.HOLDS: "PASS: no job was lost, none was recorded twice",
    VerdictOutcome.BROKEN: "FAIL: the contract is broken",
    VerdictOutcome.CANNOT_TELL: "CANNOT TELL: the log or the witness records are not complete",
}

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:50rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886}th{font-weight:500}"
)

#: The rules over the log as a whole, besides those over one job's events.
_OTHER_RULES: Final = (
    "one_job_for_each_gpu",
    "witness_agrees",
    "ids_gapless",
    "allocations_agree",
    "gpus_are_known",
    "counts_add_up",
    "rollup_agrees",
)


def rule_names() -> tuple[str, ...]:
    return (*(rule.__name__ for rule in RULES), *_OTHER_RULES)


def as_text(verdict: Verdict) -> str:
    lines = [
        _WORDS[verdict.outcome],
        "",
        *(f"{name:<34} {value}" for name, value in _facts(verdict)),
        "",
        *(f"{rule:<34} {_rule_word(verdict, rule)}" for rule in rule_names()),
    ]
    lines += ["", *(f"job {b.job}: {b.rule}: {b.words}" for b in verdict.breaches)] if verdict.breaches else []
    lines += ["", *verdict.gaps] if verdict.gaps else []
    return "\n".join(lines)


def as_junit(verdict: Verdict) -> str:
    suite = Element("testsuite", name="verdict", tests=str(len(rule_names())), failures=str(len(verdict.broken)))
    for rule in rule_names():
        case = SubElement(suite, "testcase", classname="verdict", name=rule)
        if verdict.broken[rule]:
            failure = SubElement(case, "failure", message=f"{verdict.broken[rule]} breaches")
            failure.text = "\n".join(f"job {b.job}: {b.words}" for b in verdict.breaches if b.rule == rule)
    if verdict.gaps:
        case = SubElement(suite, "testcase", classname="verdict", name="log_is_complete")
        SubElement(case, "error", message=verdict.gaps[0]).text = "\n".join(verdict.gaps)
    return tostring(suite, encoding="unicode", xml_declaration=True)


def as_html(verdict: Verdict) -> str:
    """One file, without scripts or references to other files."""
    facts = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _facts(verdict)
    )
    rules = "".join(_row(rule, _rule_word(verdict, rule)) for rule in rule_names())
    breaches = "".join(f"<li>job {b.job}: {b.rule}: {escape(b.words)}</li>" for b in verdict.breaches)
    gaps = "".join(f"<li>{escape(words)}</li>" for words in verdict.gaps)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Verdict</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(_WORDS[verdict.outcome])}</h1><table>{facts}</table><h2>Rules</h2><table>{rules}</table>"
        f"{f'<h2>Breaches</h2><ul>{breaches}</ul>' if breaches else ''}"
        f"{f'<h2>Cannot tell</h2><ul>{gaps}</ul>' if gaps else ''}</body></html>"
    )


def _row(name: str, value: str) -> str:
    return f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>"


def _rule_word(verdict: Verdict, rule: str) -> str:
    return f"BROKEN {verdict.broken[rule]} times" if verdict.broken[rule] else "holds"


def _facts(verdict: Verdict) -> list[tuple[str, str]]:
    found = verdict.as_dict()
    states = ", ".join(f"{n} {state}" for state, n in sorted(found["states"].items())) or "-"
    requeues = ", ".join(f"{n} {reason}" for reason, n in sorted(found["requeues"].items())) or "none"
    return [
        ("jobs", f"{verdict.jobs} ({states})"),
        ("events", str(verdict.events)),
        ("starts, with witness", f"{verdict.starts}, {verdict.starts - verdict.starts_without_witness}"),
        ("requeued", requeues),
        ("fault to requeue, seconds", _seconds(found["detection_seconds"])),
        ("requeue to next start, seconds", _seconds(found["recovery_seconds"])),
        ("priority inversions", str(verdict.priority_inversions)),
        ("aged starts ahead of others", _of_all(verdict.aged_starts, verdict.starts)),
        ("late results refused", str(verdict.refused_commits)),
        ("deaths that no fault explains", str(verdict.unexplained_deaths)),
        ("overlaps in unconfirmed kills", str(verdict.overlaps_in_unconfirmed_kills)),
        ("witness lines that a crash cut off", _torn(verdict.torn_lines)),
    ]


def _torn(lines: dict[str, int]) -> str:
    return ", ".join(f"{n} in {file}" for file, n in sorted(lines.items())) or "0"


def _of_all(n: int, starts: int) -> str:
    return f"{n} ({n / starts:.1%} of all starts)" if n else "0"


def _seconds(quantiles: dict[str, float] | None) -> str:
    if quantiles is None:
        return "none measured"
    return f"p50 {quantiles['p50']:.2f}, max {quantiles['max']:.2f} ({quantiles['n']:.0f} measured)"
