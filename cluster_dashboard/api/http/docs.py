"""/api/docs: Swagger's page with scripts and styles from this host, as the content security policy requires."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.openapi.docs import Swagger

from cluster_dashboard.access import Right, bearer, may, may_read


class OwnHostDocs(Swagger):
    """Uses the files that ninja installs, and adds a CSRF token only for users who may change something."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        options = {**self.settings, "url": self.get_openapi_url(api, kwargs), "validatorUrl": None}
        changes = any(may(request.user, right) for right in Right if right is not Right.READ)
        context = {"swagger_settings": json.dumps(options), "api": api, "add_csrf": changes}
        return render(request, self.template, context)


def for_readers(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Docs and schema need the right to read, as all other reading does (PUBLIC_READ)."""

    @require_safe
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if (scheme.lower() == "bearer" and bearer(token)) or may_read(request.user):
            return view(request, *args, **kwargs)
        return redirect_to_login(request.get_full_path(), reverse("login"))

    return checked
