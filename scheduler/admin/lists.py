"""What the lists share. Made for a million rows: nothing here counts, sorts or searches the whole history."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from scheduler.models import Gpu

#: A list ends here: whoever looks for something older filters or searches.
ROWS_MAXIMUM: Final = 5000


#: What the admin shows for an empty value.
NOTHING: Final = "-"


class CappedPaginator(Paginator):  # type: ignore[type-arg] # Django's class takes no type at run time
    """Counts as far as the list goes, not the whole history."""

    @cached_property
    def count(self) -> int:
        found: QuerySet[Any] = self.object_list[:ROWS_MAXIMUM]  # type: ignore[assignment]
        return found.count()


class ListAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that are neither added nor deleted by hand, newest first. Facets and full counts read everything: off."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    list_select_related = False

    class Media:
        css: ClassVar = {"all": ("scheduler/admin.css",)}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = str(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title[:1].upper() + title[1:], **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ListAdmin):
    """The permission to change is that for the list's actions; a row itself is never edited."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)


class GpuFilter(admin.SimpleListFilter):
    """The GPUs there are, not a DISTINCT over all rows."""

    title = "GPU"
    parameter_name = "gpu"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(index), f"GPU {index}") for index in Gpu.objects.values_list("index", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        known = {value for value, _ in self.lookup_choices}
        return queryset.filter(gpu=self.value()) if self.value() in known else queryset


def moment(field: str, label: str) -> Any:
    """A column with the time in UTC, to the millisecond: Django's own format stops at minutes."""

    @admin.display(description=label)
    def shown(row: Any) -> str:
        at: datetime | None = getattr(row, field)
        return NOTHING if at is None else f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"

    shown.__name__ = field
    return shown


def yes(field: str, label: str) -> Any:
    """A word where it is true: Django's red cross for false reads as an error."""

    @admin.display(description=label)
    def shown(row: Any) -> str:
        return "yes" if getattr(row, field) else NOTHING

    shown.__name__ = field
    return shown


def pretty(field: str, label: str) -> Any:
    """JSON or text as it is, escaped."""

    @admin.display(description=label)
    def shown(row: Any) -> SafeString | str:
        value = getattr(row, field)
        if value in (None, "", {}):
            return NOTHING
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        return format_html('<pre style="margin: 0; white-space: pre-wrap">{}</pre>', text)

    shown.__name__ = field
    return shown
