"""Who may read, submit and control: users by their permissions, tokens by their scopes. Every check is here."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from django.conf import settings

from cluster_dashboard.models import ApiToken
from cluster_dashboard.tokens import ALL_SCOPES, Scope, find_token, maker_of

#: The actor in audit events of requests with API_TOKEN.
TOKEN_ACTOR: Final = "token"  # noqa: S105 (a name, not a secret)


class Right(Enum):
    """An action: the scope that a token needs, and the permissions of which a user needs one."""

    READ = (Scope.READ, ("scheduler.view_job",))
    SUBMIT = (Scope.SUBMIT, ("scheduler.add_job", "scheduler.change_job"))
    CANCEL = (Scope.SUBMIT, ("scheduler.change_job",))
    CONTROL = (Scope.CONTROL, ("scheduler.change_control",))
    CHANGE_GPU = (Scope.CONTROL, ("scheduler.change_gpu",))

    def __init__(self, scope: Scope, permissions: tuple[str, ...]) -> None:
        self.scope, self.permissions = scope, permissions


def may(user: Any, right: Right) -> bool:
    """`user`: a Django user, or None. The caller checks CSRF."""
    if right is Right.READ:
        return may_read(user)
    return user is not None and any(user.has_perm(permission) for permission in right.permissions)


def may_read(user: Any) -> bool:
    """Everybody if PUBLIC_READ is true, else staff. View permissions apply to the admin's pages only."""
    # The setting first: reading a user needs the database, which may be unavailable.
    return settings.ENVIRONMENT.public_read or (user is not None and user.is_active and user.is_staff)


def may_control(user: Any) -> bool:
    """Whether the user may change the load."""
    return may(user, Right.CONTROL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """The client that presents a token: its name in audit events, and the scopes of the token."""

    actor: str
    scopes: frozenset[Scope]


def bearer(given: str) -> Bearer | None:
    """The owner of this token; None if it is wrong or revoked. API_TOKEN of the environment has all scopes."""
    token = settings.ENVIRONMENT.api_token
    # Compared in constant time. Without API_TOKEN no value matches.
    if token is not None and hmac.compare_digest(given.encode(errors="replace"), token.encode()):
        return Bearer(actor=TOKEN_ACTOR, scopes=ALL_SCOPES)
    found = find_token(given)
    if found is None:
        return None
    # Every token reads: a client that submits a job must be able to look at it.
    scopes = frozenset(map(Scope, found.scopes)) & _scopes_of_maker(found) | {Scope.READ}
    return Bearer(actor=f"{TOKEN_ACTOR} {found.name}", scopes=scopes)


def _scopes_of_maker(token: ApiToken) -> frozenset[Scope]:
    """No token permits more than the user who made it may do now."""
    maker = maker_of(token)
    if maker is None:
        return ALL_SCOPES  # made by a command
    return frozenset(right.scope for right in Right if right is not Right.READ and may(maker, right))
