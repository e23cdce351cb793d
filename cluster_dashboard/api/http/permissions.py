"""Who may call an operation, in the form that django-ninja expects. CONTROL is the default."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from cluster_dashboard.access import Right, bearer, may
from cluster_dashboard.api.http.problems import Problem


class BearerToken(HttpBearer):
    """`Authorization: Bearer`. A wrong token is refused even if none is needed, so that its owner notices."""

    def __init__(self, right: Right) -> None:
        super().__init__()
        self._right = right

    def authenticate(self, request: HttpRequest, token: str) -> str:
        shown = bearer(token)
        if shown is None:
            raise Problem(401, "The API token is wrong, or was revoked.")
        if self._right.scope not in shown.scopes:
            has = ", ".join(sorted(shown.scopes))
            raise Problem(403, f"This needs a token with the scope {self._right.scope}; this token has {has}.")
        return shown.actor


class Session(AuthBase):
    """The session of a user with the permission, with Django's CSRF check for requests that change something."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    def __init__(self, right: Right) -> None:
        super().__init__()
        self._right = right

    def __call__(self, request: HttpRequest) -> str | None:
        user = request.user
        if not user.is_authenticated:
            return None
        if not may(user, self._right):
            needed = " or ".join(self._right.permissions)
            raise Problem(403, f"Your account may not do this: it needs the permission {needed}.")
        if check_csrf(request) is not None:
            raise Problem(403, "The CSRF check failed: send the header X-CSRFToken, from a page of this site.")
        return str(user.get_username())


def anyone(request: HttpRequest) -> Any:
    """Allows everybody if PUBLIC_READ is true."""
    return settings.ENVIRONMENT.public_read


def _for(right: Right) -> list[Any]:
    return [BearerToken(right), Session(right)]


#: Each returns the actor as request.auth. `anyone` is before the session, which needs the database.
READ: Final = [BearerToken(Right.READ), anyone, Session(Right.READ)]
SUBMIT: Final = _for(Right.SUBMIT)
CANCEL: Final = _for(Right.CANCEL)
CONTROL: Final = _for(Right.CONTROL)
CHANGE_GPU: Final = _for(Right.CHANGE_GPU)


def actor_of(request: HttpRequest) -> str:
    """The name for the audit event: a username, or "token" with the token's name."""
    return str(request.auth)  # type: ignore[attr-defined]
