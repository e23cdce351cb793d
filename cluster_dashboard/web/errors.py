"""Error pages; below /api/ the same errors as problem details."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from cluster_dashboard.api.http.problems import problem_response

#: Status: title, and what the reader can do.
PAGES: Final = {
    400: ("Bad request", "The server did not understand this request."),
    403: (
        "Not allowed",
        "Your account has no permission to open this page. Sign in with another account, or ask an administrator.",
    ),
    404: ("Not found", "There is no page at this address."),
    500: ("Internal error", "The error is in the log of the web process. Try again in a moment."),
}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    return _answer(request, 500)


def _answer(request: HttpRequest, status: int) -> HttpResponse:
    title, text = PAGES[status]
    if request.path.startswith("/api/"):
        return problem_response(status, text)
    # Without the request: its context would read the user from the database, which may be what failed.
    page = render_to_string("error.html", {"status": status, "title": title, "text": text})
    return HttpResponse(page, status=status)
