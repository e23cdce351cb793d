"""Who may read and who may control. Page, API and live socket all ask here."""

from __future__ import annotations

import hmac
from typing import Any

from django.conf import settings

#: What audit events name where the API token was shown instead of a user's session.
TOKEN_ACTOR = "token"  # noqa: S105 (a name, not a secret)


def may_read(user: Any) -> bool:
    """Everybody where PUBLIC_READ is true, else staff. `user`: a Django user, or None."""
    # The setting first: a user is read from the database, which may be away.
    return settings.ENVIRONMENT.public_read or may_control(user)


def may_control(user: Any) -> bool:
    """Staff may. Whether the request was meant (CSRF) is for the caller to check."""
    return user is not None and user.is_active and user.is_staff


def is_api_token(given: str) -> bool:
    """Compared in constant time; where no token is set, none is right."""
    token = settings.ENVIRONMENT.api_token
    return token is not None and hmac.compare_digest(given.encode(errors="replace"), token.encode())
