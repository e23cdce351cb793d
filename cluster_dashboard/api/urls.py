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
    """ninja answers a wrong method in plain text; and nothing below /api/ may be kept by a cache.

    Django's own CSRF check would answer with a page: StaffSession does it, for whom it matters.
    """

    @csrf_exempt
    @wraps(view)
    def finished(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if isinstance(response, HttpResponseNotAllowed):
            allowed = response["Allow"]
            response = problem_response(405, f"{request.method} is not possible here; {allowed} is.")
            response["Allow"] = allowed
        response.setdefault("Cache-Control", "no-store")
        return response

    return finished


@_finished
def nothing_here(request: HttpRequest, **_: Any) -> HttpResponse:
    return problem_response(404, "There is nothing at this address. All there is stands at /api/docs.")


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
