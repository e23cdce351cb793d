"""Users in the admin. A user who may change users must not be able to gain further permissions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q
from django.http import HttpRequest

from scheduler.admin.lists import OfferedLookups
from scheduler.models import ClusterEvent

_KEY = ("content_type__app_label", "codename")
#: Fields that permit more than the groups do.
POWERS = ("is_superuser", "user_permissions")

admin.site.unregister([User, Group])


@admin.register(User)
class ClusterUserAdmin(OfferedLookups, UserAdmin):  # type: ignore[type-arg]
    """Nobody changes a user who may do more, or lets a user do more than oneself may."""

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

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "groups" and not request.user.is_superuser:
            allowed = [group.pk for group in Group.objects.all() if _permissions(group) <= _all_of(request.user)]
            kwargs["queryset"] = Group.objects.filter(pk__in=allowed)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _audit(request, f"user {obj} created")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _audit(request, f"user {obj} changed: {_changed(message)}")
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for user in queryset:
            _audit(request, f"user {user} deleted")
        return super().log_deletions(request, queryset)


@admin.register(Group)
class ClusterGroupAdmin(OfferedLookups, GroupAdmin):
    """Superusers alone change what a group may do: its members would gain it at once."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _audit(request, f"group {obj} changed: {_changed(message)}")
        return super().log_change(request, obj, message)


def _may_touch(request: HttpRequest, obj: Any) -> bool:
    """The permissions that a deactivated user would have again count too."""
    if obj is None or request.user.is_superuser:
        return True
    return not obj.is_superuser and _all_of(obj) <= _all_of(request.user)


def _all_of(user: Any) -> set[str]:
    granted = set(Permission.objects.filter(Q(user=user) | Q(group__user=user)).values_list(*_KEY))
    return {f"{app}.{name}" for app, name in granted}


def _permissions(group: Group) -> set[str]:
    return {f"{app}.{name}" for app, name in group.permissions.values_list(*_KEY)}


def _changed(message: Any) -> str:
    """The names of the fields, never their values; a password by its own page."""
    if isinstance(message, str):
        return "password" if "assword" in message else message
    fields = [name for part in message for name in part.get("changed", {}).get("fields", [])]
    return ", ".join(fields) or "nothing"


def _audit(request: HttpRequest, what: str) -> None:
    name = request.user.get_username()
    ClusterEvent.objects.create(kind="account", actor=name, message=f"{what}, by {name}"[:300])
