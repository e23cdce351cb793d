"""The cluster's words for the page's JavaScript, made from the enums: no script writes them a second time."""

from __future__ import annotations

from functools import cache
from typing import Any

from scheduler.rules.gpu import OFF_STATES, GpuState
from scheduler.rules.states import TERMINAL_STATES, TRANSITIONS, EventKind, JobState


@cache
def page_words() -> dict[str, Any]:
    """What shared/cluster_words.js reads: each enum as {member: word}, and what the words mean."""
    return {
        **{enum.__name__: {word.name: word.value for word in enum} for enum in (JobState, EventKind, GpuState)},
        "TERMINAL_STATES": [state for state in JobState if state in TERMINAL_STATES],
        "OFF_STATES": [state for state in GpuState if state in OFF_STATES],
        "STATE_AFTER": {
            EventKind.SUBMITTED: JobState.QUEUED,
            **{event: after for (_, after), event in TRANSITIONS.items()},
        },
    }
