"""Values in words for a terminal. Names, errors and parameters are data: no control character of theirs is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

#: Shown for what is not known, and for what does not apply.
NOTHING: Final = "-"


def one_line(text: str) -> str:
    """Data cannot colour, clear or title the terminal, and stays on its line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def lines(text: str) -> str:
    """The same, line by line: for errors that have several."""
    return "\n".join(one_line(line) for line in text.splitlines())


def duration(seconds: float | None) -> str:
    """Such as 0.4 s, 12 s, 3 min 05 s, 2 h 05 min, 3 d 04 h."""
    if seconds is None:
        return NOTHING
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    above, unit, small, part = next(scale for scale in _SCALES if whole >= scale[0])
    return f"{whole // above} {unit} {whole % above // small:02} {part}"


#: Seconds of the larger unit, its sign, seconds of the smaller one, its sign.
_SCALES: Final = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds."""
    return None if start is None or end is None else (end - start).total_seconds()


def moment(at: datetime) -> str:
    """In UTC, as everything in the cluster."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def memory(used_mib: int | None, total_mib: int | None) -> str:
    """Such as 27.4/80 GiB."""
    if used_mib is None:
        return NOTHING
    return f"{used_mib / 1024:.1f}/{NOTHING if total_mib is None else round(total_mib / 1024)} GiB"


def unknown_gpu(gpu: int, known: Sequence[int]) -> str:
    """What is wrong with an index that no GPU of the cluster has."""
    return f"{gpu} is unknown; accepted: {', '.join(map(str, known)) or 'none, no GPU is registered yet'}"


def ranges(ids: Iterable[int]) -> str:
    """Such as 17-116 203: short for people, and accepted by `cancel`."""
    runs: list[list[int]] = []
    for each in sorted(ids):
        if runs and each == runs[-1][1] + 1:
            runs[-1][1] = each
        else:
            runs.append([each, each])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
