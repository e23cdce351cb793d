"""API tokens with scopes: created once, shown once, stored as a digest, revoked by name."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from cluster_dashboard.models import ApiToken
from scheduler.database_errors import DatabaseFailure
from scheduler.job_type import ParamsInvalid
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent

log = event_logger(__name__)


class Scope(StrEnum):
    """What a token permits. Every token may read."""

    READ = "read"
    #: Submit and cancel jobs.
    SUBMIT = "submit"
    #: Rate, pause, fault profile and GPUs.
    CONTROL = "control"


ALL_SCOPES: Final = frozenset(Scope)

#: The prefix of every token, so that scanners for leaked secrets recognise it.
MARK: Final = "gct_"
PREFIX_LENGTH: Final = 10
ISSUED_NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}"

#: The minimum time between two writes of `last_used_at`: a busy script must not cause a write at each call.
USE_NOTED_EVERY: Final = timedelta(minutes=1)


def create_token(name: str, scopes: Iterable[str], *, actor: str) -> tuple[ApiToken, str]:
    """The token's row and its secret, which cannot be read again later. Raises ParamsInvalid, which names the field."""
    wanted = check_scopes(scopes)
    check_token_name(name)
    secret = MARK + secrets.token_urlsafe(32)
    try:
        with transaction.atomic():
            token = ApiToken.objects.create(
                name=name, prefix=secret[:PREFIX_LENGTH], digest=_digest(secret), scopes=wanted, created_by=actor
            )
            _audit(actor, f"API token {name} created for {', '.join(wanted)}", after={"name": name, "scopes": wanted})
    except IntegrityError:
        raise ParamsInvalid("name", f"{name!r} is taken; revoke that token first, or choose another name") from None
    return token, secret


def revoke_token(name: str, *, actor: str) -> bool:
    """Whether there was a valid token of this name. It is refused from now on."""
    with transaction.atomic():
        revoked = ApiToken.objects.filter(name=name, revoked_at__isnull=True).update(revoked_at=Now())
        if revoked:
            _audit(actor, f"API token {name} revoked", before={"name": name})
    return bool(revoked)


def find_token(secret: str) -> ApiToken | None:
    """The valid token with this secret. It ends with the account of the user who made it."""
    if not secret.startswith(MARK):
        return None
    token = ApiToken.objects.filter(digest=_digest(secret), revoked_at__isnull=True).first()
    if token is None or (is_user(token.created_by) and maker_of(token) is None):
        return None
    _note_use(token)
    return token


def is_user(actor: str) -> bool:
    """Or else a command's unix user, `cli (root)`: no user of the dashboard can be called so."""
    return not actor.startswith("cli (")


def maker_of(token: ApiToken) -> Any:
    """The user who made it, if the user may still sign in; None also if it was made by a command."""
    if not is_user(token.created_by):
        return None
    return get_user_model().objects.filter(username=token.created_by, is_active=True, is_staff=True).first()


def check_scopes(scopes: Iterable[str]) -> list[str]:
    given = set(scopes)
    if not given or not given <= set(Scope):
        raise ParamsInvalid("scope", f"expects one or more of {', '.join(Scope)}")
    return [scope.value for scope in Scope if scope in given]


def check_token_name(name: str) -> None:
    if not re.fullmatch(ISSUED_NAME_PATTERN, name):
        raise ParamsInvalid("name", "expects 1 to 60 letters, digits, dots, underscores and hyphens")


def _digest(secret: str) -> str:
    """A fast hash is enough: 256 random bits cannot be guessed."""
    return sha256(secret.encode(errors="replace")).hexdigest()


def _note_use(token: ApiToken) -> None:
    long_ago = Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - USE_NOTED_EVERY)
    try:
        ApiToken.objects.filter(long_ago, id=token.id).update(last_used_at=Now())
    except DatabaseFailure as error:
        # The time is informative only: a token stays valid while the database cannot be written.
        log.info("token_use_not_written", token=token.name, error=f"{type(error).__name__}: {error}")


def _audit(actor: str, sentence: str, *, before: object = None, after: object = None) -> None:
    ClusterEvent.objects.create(
        kind="token", actor=actor, message=f"{sentence}, by {actor}", before=before, after=after
    )
