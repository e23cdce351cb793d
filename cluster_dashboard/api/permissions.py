"""Who may call an operation, in the form that django-ninja takes: READ or CONTROL. CONTROL is the default."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from cluster_dashboard.access import TOKEN_ACTOR, is_api_token, may_control
from cluster_dashboard.api.problems import Problem


class ApiToken(HttpBearer):
    """`Authorization: Bearer`. A wrong token is refused even where none is needed: it is a mistake to hear of."""

    def authenticate(self, request: HttpRequest, token: str) -> str:
        if not is_api_token(token):
            raise Problem(401, "The API token is wrong.")
        return TOKEN_ACTOR


class StaffSession(AuthBase):
    """A staff member's session, with Django's CSRF check for whatever changes something."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> str | None:
        user = request.user
        if not user.is_authenticated:
            return None
        if not may_control(user):
            raise Problem(403, "This takes a staff account.")
        if check_csrf(request) is not None:
            raise Problem(403, "The CSRF check failed: send the header X-CSRFToken, from a page of this site.")
        return str(user.get_username())


def anyone(request: HttpRequest) -> Any:
    """Lets everybody in where PUBLIC_READ is true."""
    return settings.ENVIRONMENT.public_read


#: Each gives the actor as request.auth. `anyone` stands before the session: reading needs no database for it.
READ: Final = [ApiToken(), anyone, StaffSession()]
CONTROL: Final = [ApiToken(), StaffSession()]


def actor_of(request: HttpRequest) -> str:
    """Who is named in the audit event: a username, or "token"."""
    return str(request.auth)  # type: ignore[attr-defined]
