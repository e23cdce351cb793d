"""Events of the cluster: a line each for people, an object each for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from cluster_dashboard.console.text import moment, one_line

if TYPE_CHECKING:
    from cluster_dashboard.console.source import EventRow

#: A message is not wrapped into a narrower column than this, however narrow the terminal is.
MESSAGE_COLUMNS_MINIMUM: Final = 20


def event_line(event: EventRow, width: int | None = None) -> str:
    """Control characters of a message are escaped. On a terminal of `width` columns it is wrapped, not cut."""
    head = f"{moment(event.at)}  {one_line(event.kind):<16}  "
    message = one_line(event.message)
    if width is None:
        return head + message
    wrapped = Text(message).wrap(Console(), max(width - len(head), MESSAGE_COLUMNS_MINIMUM))
    return head + f"\n{' ' * len(head)}".join(line.plain.rstrip() for line in wrapped)


def event_json(event: EventRow) -> str:
    """One line, in ASCII; the time in ISO 8601."""
    return json.dumps({**asdict(event), "at": event.at.isoformat()}, allow_nan=False)


def unknown_kind(kind: str, known: Sequence[str]) -> str:
    return f"{kind!r} is unknown; accepted: {', '.join(known) or 'none, no event is kept yet'}"
