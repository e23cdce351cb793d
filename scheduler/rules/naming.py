"""Readable names for jobs: words that suit type and priority, and the job's id, which makes them unique."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from scheduler.job_type import ParamsInvalid
from scheduler.rules.states import Priority

#: The first word, by priority.
PRIORITY_WORDS: Final[dict[Priority, tuple[str, ...]]] = {
    Priority.CRITICAL: ("urgent", "incident", "hotfix", "production", "emergency", "pager"),
    Priority.HIGH: ("release", "launch", "customer", "deadline", "staging", "canary"),
    Priority.NORMAL: ("nightly", "daily", "hourly", "weekly", "routine", "regular"),
    Priority.LOW: ("backfill", "archive", "spare", "weekend", "exploratory", "idle"),
}

#: The second and third word, by job type: a subject and an action.
TYPE_WORDS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "sleep": (
        ("embedding", "checkpoint", "dataset", "tokenizer", "feature", "index", "replica", "cache"),
        ("refresh", "warmup", "export", "sync", "snapshot", "rollout", "cooldown"),
    ),
    "compute": (
        ("prime", "hash", "lattice", "risk", "orbit", "ledger", "molecule", "sampler"),
        ("survey", "audit", "simulation", "estimate", "search", "scan"),
    ),
    "matrix": (
        ("attention", "tensor", "gradient", "kernel", "projection", "layer", "spectral"),
        ("benchmark", "product", "sweep", "factor", "training", "profile"),
    ),
    "fault_injection": (
        ("chaos", "failure", "outage", "crash", "recovery"),
        ("drill", "rehearsal", "probe", "exercise", "test"),
    ),
}

#: For the types of installed packages.
GENERIC_WORDS: Final = (
    ("model", "pipeline", "batch", "worker", "data", "inference", "vision", "speech"),
    ("run", "task", "pass", "evaluation", "review", "update"),
)

#: The maximum length of a name that a user may give, in characters.
NAME_MAXIMUM_LENGTH: Final = 100
#: Of the name of a job's owner: a user, a token, or the unix user of a command.
OWNER_LENGTH: Final = 150
#: The number of owners that a filter offers.
OWNERS_SHOWN: Final = 50

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_MAXIMUM_LENGTH - 1}}}")


def job_name(job_id: int, job_type: str, priority: Priority, seed: int) -> str:
    """Such as `nightly-embedding-refresh-7f3a`: the same for the same arguments, and unique because the id is."""
    subjects, actions = TYPE_WORDS.get(job_type, GENERIC_WORDS)
    first, second, third = blake2b(f"name:{seed}:{job_id}".encode(), digest_size=3).digest()
    words = (_pick(PRIORITY_WORDS[priority], first), _pick(subjects, second), _pick(actions, third))
    return f"{'-'.join(words)}-{job_id:04x}"


def check_name(name: str) -> str:
    """The name a user gave, or ParamsInvalid. Safe in URLs, shells, file names and log lines."""
    if not _NAME.fullmatch(name):
        raise ParamsInvalid(
            "name",
            f"accepts 1 to {NAME_MAXIMUM_LENGTH} characters: letters, digits, '.', '_' and '-', "
            "the first one a letter or a digit",
        )
    return name


def _pick(words: tuple[str, ...], byte: int) -> str:
    return words[byte % len(words)]
