"""The verbs of gpuc, in groups: the overview, the aliases, and the error for a verb that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

#: What help and errors call the program, also where manage.py was typed.
PROGRAM: Final = "gpuc"

GROUPS: Final = {
    "Submit and watch jobs": {
        "submit": "submit a job",
        "jobs": "list jobs (also: ps)",
        "job": "show one job (also: show)",
        "cancel": "cancel jobs",
    },
    "Cluster": {
        "status": "show the state of the cluster",
        "gpus": "list the GPUs: state, job, readings",
        "events": "print what happened to the cluster",
        "drain": "start no new job on GPUs",
        "undrain": "let drained GPUs accept jobs again",
        "quarantine": "give GPUs that seem broken no jobs",
        "release": "end the quarantine of GPUs",
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
        "completion": "print the completion script of a shell",
    },
}

VERBS: Final = tuple(verb for verbs in GROUPS.values() for verb in verbs)

#: Names that users of other queues type.
ALIASES: Final = {"ps": "jobs", "show": "job"}

#: In the place of a verb: they print the overview.
HELP: Final = ("help", "-h", "--help")


def overview() -> str:
    lines = [f"usage: {PROGRAM} VERB [options]     ({PROGRAM} VERB --help describes one verb)"]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {verb:<13}{line}" for verb, line in verbs.items())]
    return "\n".join(lines)


def unknown_verb(word: str, others: Iterable[str]) -> str:
    """The error for a word that is no verb. `others`: verbs beside ours."""
    near = get_close_matches(word.lower(), dict.fromkeys([*VERBS, *ALIASES, *others]), n=3)
    return f"unknown verb {word!r}; accepted: {', '.join(near or VERBS)}; see {PROGRAM} --help"
