"""Errors as problem details (RFC 9457): `application/problem+json` that names the field and what it accepts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError
from pydantic import BaseModel

from scheduler.job_type import ParamsInvalid
from scheduler.jobs.room import Lack, NoRoom
from scheduler.logs import event_logger

log = event_logger(__name__)

CONTENT_TYPE: Final = "application/problem+json"

#: Retry-After of answers that a moment later may be different.
RETRY_AFTER_SECONDS: Final = 2

#: Errors listed in one answer.
ERRORS_MAXIMUM: Final = 20


#: Calls that this process refused because there was no room, for /metrics.
REFUSED: Final[Counter[Lack]] = Counter()


class FieldError(BaseModel):
    field: str
    message: str


class ProblemDetails(BaseModel):
    """The body of every answer that is not a success."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError]


class Problem(Exception):
    """Raised by an operation to answer with problem details. `extra`: members beside the standard ones."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        extra: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.extra = status, detail, errors, extra or {}
        self.retry_after = retry_after


def problem_response(
    status: int,
    detail: str,
    *,
    errors: Iterable[FieldError] = (),
    extra: dict[str, Any] | None = None,
    retry_after: int | None = None,
) -> HttpResponse:
    problem = ProblemDetails(
        title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors)[:ERRORS_MAXIMUM]
    )
    # json.dumps and not pydantic: a field's name may hold half a surrogate pair, which is no UTF-8.
    response = HttpResponse(json.dumps({**problem.model_dump(), **(extra or {})}), status=status)
    response["Content-Type"] = CONTENT_TYPE
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    return response


def database_unavailable(error: Exception, *, extra: dict[str, Any] | None = None) -> HttpResponse:
    log.warning("database_unreachable", component="api", error=f"{type(error).__name__}: {error}")
    detail = "The database is unavailable or locked. Send the request again later."
    return problem_response(503, detail, extra=extra, retry_after=RETRY_AFTER_SECONDS)


def answer_with_problems(api: NinjaAPI) -> None:
    """Makes problem details of every error that an operation may raise; any other exception is a bug and a 500."""
    _answer(api, Problem, _problem)
    _answer(api, ParamsInvalid, _params_invalid)
    _answer(api, NoRoom, _no_room)
    _answer(api, AuthenticationError, _unauthenticated)
    _answer(api, HttpError, _http_error)
    _answer(api, Http404, _not_found)
    _answer(api, RequestDataTooBig, _too_big)
    _answer(api, OperationalError, _database_unavailable)
    _answer(api, InterfaceError, _database_unavailable)


def _answer[E: Exception](api: NinjaAPI, kind: type[E], answer: Callable[[HttpRequest, E], HttpResponse]) -> None:
    # ninja's type allows the class in place of the error too, which ninja never passes.
    api.add_exception_handler(kind, cast("Callable[[HttpRequest, E | type[E]], HttpResponse]", answer))


def _problem(_: HttpRequest, problem: Problem) -> HttpResponse:
    return problem_response(
        problem.status, problem.detail, errors=problem.errors, extra=problem.extra, retry_after=problem.retry_after
    )


def _params_invalid(_: HttpRequest, error: ParamsInvalid) -> HttpResponse:
    detail = f"{error.field}: {error.message}"
    return problem_response(422, detail, errors=[FieldError(field=error.field, message=error.message)])


def _no_room(_: HttpRequest, error: NoRoom) -> HttpResponse:
    shortage = error.shortage
    REFUSED[shortage.lack] += 1
    extra = {"reason": shortage.lack.value}
    return problem_response(503, shortage.words, extra=extra, retry_after=shortage.retry_after_seconds)


def _unauthenticated(_: HttpRequest, __: AuthenticationError) -> HttpResponse:
    detail = "This needs the header Authorization: Bearer with API_TOKEN or a token with scopes, or a user's session."
    return problem_response(401, detail)


def _http_error(_: HttpRequest, error: HttpError) -> HttpResponse:
    # The message of ninja does not say why a body could not be read; its cause does.
    cause = f": {error.__cause__}" if error.status_code == HTTPStatus.BAD_REQUEST and error.__cause__ else ""
    return problem_response(error.status_code, f"{error.message}{cause}")


def _not_found(_: HttpRequest, __: Http404) -> HttpResponse:
    return problem_response(404, "There is no such address.")


def _too_big(_: HttpRequest, __: RequestDataTooBig) -> HttpResponse:
    return problem_response(413, "The body of the request is too large.")


def _database_unavailable(_: HttpRequest, error: Exception) -> HttpResponse:
    return database_unavailable(error)
