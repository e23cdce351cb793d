"""The pages that people open: live, jobs, one job, sign in and sign out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView, redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from cluster_dashboard.access import Right, may, may_control, may_read
from cluster_dashboard.api.schemas import BIGINT_MAXIMUM
from cluster_dashboard.web.sign_in import LimitedForm
from cluster_dashboard.web.words import page_words
from scheduler.broker.dead_letters import DEAD_LETTERS_KEPT
from scheduler.catalogue import catalogue
from scheduler.jobs.admission import COUNT_MAXIMUM
from scheduler.models import Gpu, Job
from scheduler.rules.faults import FAULTS
from scheduler.rules.job_limits import FAILURE_LIMIT, FAILURE_LIMIT_MAXIMUM, TIME_LIMIT_SECONDS, time_span
from scheduler.rules.naming import NAME_MAXIMUM_LENGTH, OWNERS_SHOWN
from scheduler.rules.presets import PRESETS, RATE_MINIMUM, Preset
from scheduler.rules.states import PRIORITY_ORDER, JobState, Priority, Reason, Source

#: Jobs on one page of the list.
JOBS_SHOWN: Final = 50


def for_readers(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """For everybody; for staff only if PUBLIC_READ is false. No cache keeps the page."""

    @never_cache
    @require_safe
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if may_read(request.user):
            return view(request, *args, **kwargs)
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path(), reverse("login"))

    return checked


@for_readers
def live(request: HttpRequest) -> HttpResponse:
    controls = may_control(request.user)
    context = {
        **_page(request, "live", changes=controls),
        "may_control": controls,
        "may_submit": may(request.user, Right.SUBMIT),
        "may_change_gpus": may(request.user, Right.CHANGE_GPU),
        "faults": FAULTS.items(),
        "gpus": Gpu.objects.values_list("index", flat=True),
        "presets": PRESETS.items(),
        "rate_lowest": RATE_MINIMUM,
        "rate_highest": PRESETS[Preset.MAXIMUM].rate_per_minute,
        "priorities": PRIORITY_ORDER,
    }
    return render(request, "live.html", context)


@for_readers
def jobs(request: HttpRequest) -> HttpResponse:
    """The list of jobs. Its filters are in the URL, with the names of GET /api/jobs."""
    context = {
        **_page(request, "jobs", changes=False),
        "limit": JOBS_SHOWN,
        "may_submit": may(request.user, Right.SUBMIT),
        "filters": [
            ("state", "State", "any state", list(JobState)),
            ("type", "Type", "any type", list(catalogue())),
            ("priority", "Priority", "any priority", list(PRIORITY_ORDER)),
            ("gpu", "GPU", "any GPU", list(Gpu.objects.values_list("index", flat=True))),
            ("reason", "Reason", "any reason", list(Reason)),
            ("source", "Source", "any source", list(Source)),
            ("owner", "Owner", "any owner", Job.objects.all().owners(OWNERS_SHOWN)),
        ],
    }
    return render(request, "jobs.html", context)


@never_cache
@require_safe
def new_job(request: HttpRequest) -> HttpResponse:
    """The form. Its fields come from the parameters of each job type; POST /api/jobs validates them."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), reverse("login"))
    if not may(request.user, Right.SUBMIT):
        raise PermissionDenied
    context = {
        **_page(request, "jobs", changes=True),
        "types": list(catalogue()),
        "priorities": PRIORITY_ORDER,
        "default_priority": Priority.NORMAL,
        "count_maximum": COUNT_MAXIMUM,
        "name_maximum": NAME_MAXIMUM_LENGTH,
        "time_limit": TIME_LIMIT_SECONDS,
        "time_limit_maximum": settings.TIME_LIMIT_MAX_SECONDS,
        "time_limit_maximum_words": time_span(settings.TIME_LIMIT_MAX_SECONDS),
        "failure_limit": FAILURE_LIMIT,
        "failures_maximum": FAILURE_LIMIT_MAXIMUM,
    }
    return render(request, "new_job.html", context)


@for_readers
def job(request: HttpRequest, job_id: int) -> HttpResponse:
    name = Job.objects.filter(id=job_id).values_list("name", flat=True).first() if job_id <= BIGINT_MAXIMUM else None
    if name is None:
        raise Http404
    cancels, submits = may(request.user, Right.CANCEL), may(request.user, Right.SUBMIT)
    context = {
        **_page(request, "jobs", changes=cancels or submits),
        "job_id": job_id,
        "name": name,
        "may_cancel": cancels,
        "may_submit": submits,
    }
    return render(request, "job.html", context)


@for_readers
def dead_letters(request: HttpRequest) -> HttpResponse:
    controls = may_control(request.user)
    context = {
        **_page(request, "dead-letters", changes=controls),
        "may_control": controls,
        "kept": DEAD_LETTERS_KEPT,
    }
    return render(request, "dead_letters.html", context)


def _page(request: HttpRequest, section: str, *, changes: bool) -> dict[str, Any]:
    return {
        "section": section,
        "words": page_words(),
        "flower_url": flower_url(request),
        # Only where the user may change something: for all others the page sets no cookie.
        "csrf": get_token(request) if changes else "",
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
    }


def flower_url(request: HttpRequest) -> str:
    """Flower listens on the same host with its own port. Empty behind a reverse proxy, which does not forward it."""
    if settings.ENVIRONMENT.https:
        return ""
    host = urlsplit(f"//{request.get_host()}").hostname or "localhost"
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.ENVIRONMENT.flower_port}/"


class SignIn(LoginView):
    """Django's sign-in, which refuses a `next` on another host, with the page's template."""

    template_name = "login.html"
    next_page = "live"
    form_class = LimitedForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, flower_url=flower_url(self.request))


class SignOut(LogoutView):
    next_page = "live"
