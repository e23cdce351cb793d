"""The pages that people open: the live page, sign in and sign out."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView, redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from cluster_dashboard.access import may_control, may_read
from scheduler.gpu import TEMPERATURE_LIMIT_C
from scheduler.states import PRESETS, PRIORITY_ORDER


@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """The live page: for everybody, or for staff alone where PUBLIC_READ is false."""
    if not may_read(request.user):
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path(), reverse("login"))
    return render(request, "live.html", live_context(request))


def live_context(request: HttpRequest) -> dict[str, Any]:
    controls = may_control(request.user)
    return {
        "section": "live",
        "flower_url": flower_url(request),
        "may_control": controls,
        # A visitor gets no token: the page stays free of cookies for whoever only looks.
        "csrf": get_token(request) if controls else "",
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
        "presets": PRESETS.items(),
        "priorities": PRIORITY_ORDER,
        "temperature_limit_c": TEMPERATURE_LIMIT_C,
    }


def flower_url(request: HttpRequest) -> str:
    """Flower listens beside the page: same host, a port of its own."""
    host = urlsplit(f"//{request.get_host()}").hostname or "localhost"
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.ENVIRONMENT.flower_port}/"


class SignIn(LoginView):
    """Django's own sign-in (it refuses a `next` on another host) in the look of the page."""

    template_name = "login.html"
    next_page = "live"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, flower_url=flower_url(self.request))


class SignOut(LogoutView):
    next_page = "live"
