"""Names that no user may have: the audit and a job's owner would not tell them from what is not a user."""

from __future__ import annotations

from typing import Final

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

RESERVED: Final = frozenset({"chaos", "cli", "cluster", "generator", "system", "token"})


def refuse_reserved(name: str) -> None:
    if name.casefold() in RESERVED:
        raise ValidationError(f"{name!r} is reserved; choose a name other than {', '.join(sorted(RESERVED))}.")


def reserve() -> None:
    """For every form and command that makes or renames a user."""
    get_user_model()._meta.get_field("username").validators.append(refuse_reserved)
