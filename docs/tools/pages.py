"""Pages with generated parts: a part stands between two marks, and everything else is left alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

_PART: Final = re.compile(r"(<!-- generated: ([a-z-]+); make docs -->\n).*?(<!-- end -->)", re.DOTALL)


def with_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The page with each generated part made again. Raises KeyError for a part that nothing makes."""
    return _PART.sub(lambda found: f"{found[1]}{parts[found[2]]()}\n{found[3]}", text)


def parts_in(text: str) -> list[str]:
    return [found[2] for found in _PART.finditer(text)]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
