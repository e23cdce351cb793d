"""The buttons that export all pages of the list as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from scheduler.admin import export
from scheduler.jobs.clock import database_now
from scheduler.models import Job

EXPORT_FORMATS: Final[dict[str, tuple[str, Callable[[QuerySet[Job]], Iterator[str]]]]] = {
    "csv": ("text/csv; charset=utf-8", export.csv_pages),
    "jsonl": ("application/jsonl; charset=utf-8", export.json_pages),
}


class ExportAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list with an export URL for each format."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export.<str:form>", view, name="scheduler_job_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Accepts the query string of the list, without the list's limit of rows."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if form not in EXPORT_FORMATS:
            raise Http404
        content_type, pages_of = EXPORT_FORMATS[form]
        try:
            jobs = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseBadRequest("The filter is not valid.")
        pages: Iterator[str] = pages_of(jobs)
        # Under ASGI, Django would read a plain iterator to its end before it sends the first byte.
        stream: Any = _asynchronously(pages) if isinstance(request, ASGIRequest) else pages
        response = StreamingHttpResponse(stream, content_type=content_type)
        response["Content-Disposition"] = f'attachment; filename="jobs-{database_now():%Y%m%dT%H%M%SZ}.{form}"'
        return response


async def _asynchronously(pages: Iterator[str]) -> AsyncIterator[str]:
    def next_page() -> str | None:
        return next(pages, None)

    while (page := await sync_to_async(next_page)()) is not None:
        yield page
