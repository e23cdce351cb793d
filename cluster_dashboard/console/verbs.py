"""The verbs of gpuc, in groups: the overview, and the error for a verb that does not exist."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

GROUPS: Final = {
    "Submit and watch jobs": {
        "submit": "submit a job",
        "jobs": "list jobs",
        "job": "show one job",
        "cancel": "cancel jobs",
    },
    "Cluster": {
        "status": "show the state of the cluster",
        "drain": "start no new job on GPUs",
        "undrain": "let drained GPUs accept jobs again",
        "rate": "set how many jobs a minute the generator submits",
        "deadletters": "list or delete dead letters",
    },
    "Verification": {
        "verify": "check the guarantees against the records",
        "inject": "inject a fault",
        "chaos": "run a scenario of faults and verify afterwards",
    },
    "Administration": {
        "up": "run the whole cluster on this machine",
        "start": "run one process of the cluster",
        "setup": "prepare the database and the broker",
        "token": "create, list or revoke API tokens",
        "rotate": "replace secrets",
        "backup": "write a backup",
        "restore": "restore a backup",
    },
}

VERBS: Final = tuple(verb for verbs in GROUPS.values() for verb in verbs)


def overview() -> str:
    lines = ["usage: gpuc VERB [options]     (gpuc VERB --help describes one verb)"]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {verb:<13}{line}" for verb, line in verbs.items())]
    return "\n".join(lines)


def unknown_verb(word: str) -> str:
    """What is wrong with the first word, or an empty string if it is a verb."""
    if word in VERBS:
        return ""
    near = get_close_matches(word, VERBS, n=3)
    return f"unknown verb {word!r}; accepted: {', '.join(near or VERBS)}"
