"""The base of all lists. Built for a million rows: nothing here counts, sorts or searches the whole history."""

from __future__ import annotations

import json
from collections.abc import Iterable
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
from scheduler.storable import storable_text

#: The maximum number of rows in a list: older ones are found with filters or the search.
ROWS_MAXIMUM: Final = 5000


#: What the admin shows for an empty value.
NOTHING: Final = "-"


class CappedPaginator(Paginator):  # type: ignore[type-arg] # Django's class takes no type at run time
    """Counts at most ROWS_MAXIMUM rows, not the whole history."""

    @cached_property
    def count(self) -> int:
        found: QuerySet[Any] = self.object_list[:ROWS_MAXIMUM]  # type: ignore[assignment]
        return found.count()


class OfferedLookups(admin.ModelAdmin):  # type: ignore[type-arg]
    """Accepts in a list's address only what its filters offer.

    Django accepts every look-up of every field of the model: with `name__regex=` one address stops the process.
    """

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in offered_lookups(self.get_list_filter(request))


def offered_lookups(filters: Iterable[Any]) -> set[str]:
    """The parameters of a ModelAdmin's list_filter: classes, names of fields, or (name, class)."""
    offered: set[str] = set()
    for each in filters:
        if isinstance(each, type) and issubclass(each, admin.SimpleListFilter):
            offered.add(str(each.parameter_name))
        else:
            name = each if isinstance(each, str) else each[0]
            offered |= {name, f"{name}__exact", f"{name}__isnull", f"{name}__id__exact"}
    return offered


class ListAdmin(OfferedLookups):
    """Rows that are not added or deleted by hand. Facets and full counts are off, since they read every row."""

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
    """Nobody edits a row; the permission to change it permits the actions of the list."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)


class GpuFilter(admin.SimpleListFilter):
    """Offers the known GPUs; a DISTINCT would read all rows."""

    title = "GPU"
    parameter_name = "gpu"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(index), f"GPU {index}") for index in Gpu.objects.values_list("index", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        known = {value for value, _ in self.lookup_choices}
        return queryset.filter(gpu=self.value()) if self.value() in known else queryset


def moment(field: str, label: str) -> Any:
    """A column with the time in UTC, to the millisecond: Django's format ends at minutes."""

    @admin.display(description=label)
    def shown(row: Any) -> str:
        at: datetime | None = getattr(row, field)
        return NOTHING if at is None else f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"

    shown.__name__ = field
    return shown


def yes(field: str, label: str) -> Any:
    """A column with "yes" if true: Django's red cross for false looks like an error."""

    @admin.display(description=label)
    def shown(row: Any) -> str:
        return "yes" if getattr(row, field) else NOTHING

    shown.__name__ = field
    return shown


def pretty(field: str, label: str) -> Any:
    """A column with JSON or text, escaped."""

    @admin.display(description=label)
    def shown(row: Any) -> SafeString | str:
        value = getattr(row, field)
        if value in (None, "", {}):
            return NOTHING
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        # A row of an older version may hold half a surrogate pair, which no page can.
        return format_html('<pre style="margin: 0; white-space: pre-wrap">{}</pre>', storable_text(text))

    shown.__name__ = field
    return shown
