"""Users in the admin. A user who may change users must not be able to gain further permissions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from scheduler.admin.lists import OfferedLookups

#: Fields that permit more than the groups do.
POWERS = ("is_superuser", "user_permissions")

admin.site.unregister([User, Group])


@admin.register(User)
class ClusterUserAdmin(OfferedLookups, UserAdmin):  # type: ignore[type-arg]
    """Only superusers create and change superusers."""

    list_display = ("username", "is_active", "is_staff", "is_superuser", "last_login")
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ("scheduler/admin.css",)}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else (*fields, *POWERS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)


@admin.register(Group)
class ClusterGroupAdmin(OfferedLookups, GroupAdmin):
    """Django's page; only its list accepts less."""


def _may_touch(request: HttpRequest, obj: Any) -> bool:
    return obj is None or request.user.is_superuser or not obj.is_superuser
