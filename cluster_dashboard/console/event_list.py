"""Events of the cluster: a line each for people, an object each for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cluster_dashboard.console.text import moment, one_line

if TYPE_CHECKING:
    from cluster_dashboard.console.source import EventRow


def event_line(event: EventRow) -> str:
    """A message is data: no control character of it reaches the terminal."""
    return f"{moment(event.at)}  {one_line(event.kind):<16}  {one_line(event.message)}"


def event_json(event: EventRow) -> str:
    """One line, in ASCII; the time in ISO 8601."""
    return json.dumps({**asdict(event), "at": event.at.isoformat()}, allow_nan=False)


def unknown_kind(kind: str, known: Sequence[str]) -> str:
    return f"{kind!r} is unknown; accepted: {', '.join(known) or 'none, no event is kept yet'}"
