"""The addresses below /api/."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from cluster_dashboard.api import api
from cluster_dashboard.api.http.problems import problem_response


def _finished(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Adds what ninja leaves out: a problem for a wrong method, and no caching of anything below /api/.

    Django's CSRF check would answer with a page, so it is off here: api.http.permissions.Session does it.
    """

    @csrf_exempt
    @wraps(view)
    def finished(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if isinstance(response, HttpResponseNotAllowed):
            allowed = response["Allow"]
            response = problem_response(405, f"The method {request.method} is not allowed here; allowed: {allowed}.")
            response["Allow"] = allowed
        response.setdefault("Cache-Control", "no-store")
        return response

    return finished


@_finished
def nothing_here(request: HttpRequest, **_: Any) -> HttpResponse:
    return problem_response(404, "There is no such address. /api/docs lists all of them.")


#: The namespace: "api:openapi-view".
app_name = "api"

_operations = api.urls[0]
for _pattern in _operations:
    if (_view := _pattern.callback) is not None:
        _pattern.callback = _finished(_view)
_docs = RedirectView.as_view(pattern_name="api:openapi-view", http_method_names=["get"])

urlpatterns = [
    path("", _finished(_docs)),
    *_operations,
    re_path("", nothing_here),
]
