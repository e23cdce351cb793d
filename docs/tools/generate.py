"""`make docs`: writes the generated parts of README.md and docs/*.md again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from docs.tools import figures, words
from docs.tools.pages import ROOT, with_parts

PARTS: Final[dict[str, Callable[[], str]]] = {
    "guarantees": figures.guarantees,
    "chaos-worst": figures.worst_of_three,
    "chaos-compose": figures.in_compose,
    "chaos-random": figures.at_random,
    "protocol": figures.protocol,
    "verdict": figures.verdict,
    "states": words.state_chart,
    "reasons": words.reasons,
    "faults": words.faults,
}


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> None:
    for page in pages():
        old = page.read_text()
        new = with_parts(old, PARTS)
        if new != old:
            page.write_text(new)
            print(f"written: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
