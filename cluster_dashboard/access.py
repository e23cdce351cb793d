"""Who may read, submit and control: users by their permissions, tokens by their scopes. All ask here."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from django.conf import settings

from cluster_dashboard.tokens import ALL_SCOPES, Scope, find_token

#: What audit events name where API_TOKEN was shown instead of a user's session.
TOKEN_ACTOR: Final = "token"  # noqa: S105 (a name, not a secret)


class Right(Enum):
    """A thing to do: the scope that a token needs for it, and the permissions of which a user needs one."""

    READ = (Scope.READ, ("scheduler.view_job",))
    SUBMIT = (Scope.SUBMIT, ("scheduler.add_job", "scheduler.change_job"))
    CANCEL = (Scope.SUBMIT, ("scheduler.change_job",))
    CONTROL = (Scope.CONTROL, ("scheduler.change_control",))
    CHANGE_GPU = (Scope.CONTROL, ("scheduler.change_gpu",))

    def __init__(self, scope: Scope, permissions: tuple[str, ...]) -> None:
        self.scope, self.permissions = scope, permissions


def may(user: Any, right: Right) -> bool:
    """`user`: a Django user, or None. Whether the request was meant (CSRF) is for the caller to check."""
    if right is Right.READ:
        return may_read(user)
    return user is not None and any(user.has_perm(permission) for permission in right.permissions)


def may_read(user: Any) -> bool:
    """Everybody where PUBLIC_READ is true, else staff; permissions are for the admin's pages."""
    # The setting first: a user is read from the database, which may be away.
    return settings.ENVIRONMENT.public_read or (user is not None and user.is_active and user.is_staff)


def may_control(user: Any) -> bool:
    """Whether the user may change the load."""
    return may(user, Right.CONTROL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Who shows a token, as audit events name it, and what the token is good for."""

    actor: str
    scopes: frozenset[Scope]


def bearer(given: str) -> Bearer | None:
    """Whose token this is; None if it is wrong or revoked. API_TOKEN of the environment is good for everything."""
    token = settings.ENVIRONMENT.api_token
    # Compared in constant time; where none is set, none is right.
    if token is not None and hmac.compare_digest(given.encode(errors="replace"), token.encode()):
        return Bearer(actor=TOKEN_ACTOR, scopes=ALL_SCOPES)
    found = find_token(given)
    if found is None:
        return None
    # Whoever submits must be able to look at the job: every token reads.
    return Bearer(actor=f"{TOKEN_ACTOR} {found.name}", scopes=frozenset(map(Scope, found.scopes)) | {Scope.READ})
