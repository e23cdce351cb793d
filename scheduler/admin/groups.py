"""Permissions of three groups; each has those of the group before it. A migration creates them; edit them freely."""

from __future__ import annotations

from typing import Any, Final

VIEWER: Final = "viewer"
OPERATOR: Final = "operator"
ADMIN: Final = "admin"

#: app.model: actions. No group may delete rows of the history.
_LOOK: Final = {
    f"scheduler.{model}": ("view",)
    for model in ("job", "jobevent", "gpu", "control", "clusterevent", "rollup", "checkpoint")
}
_OPERATE: Final = {"scheduler.job": ("change",), "scheduler.control": ("change",), "scheduler.gpu": ("change",)}
_ADMINISTER: Final = {
    "auth.user": ("view", "add", "change", "delete"),
    "auth.group": ("view",),
    "cluster_dashboard.apitoken": ("view", "add", "change", "delete"),
}

GROUPS: Final = {
    VIEWER: (_LOOK,),
    OPERATOR: (_LOOK, _OPERATE),
    ADMIN: (_LOOK, _OPERATE, _ADMINISTER),
}


def create_groups(apps: Any) -> None:
    """apps: of a migration, or of Django. Adds missing groups and permissions, and removes none.

    Creates the permissions, since Django does so only after the last migration.
    """
    group_rows = apps.get_model("auth", "Group").objects
    for name, parts in GROUPS.items():
        group, _ = group_rows.get_or_create(name=name)
        for part in parts:
            for model, actions in part.items():
                group.permissions.add(*[_permission(apps, model, action) for action in actions])


def _permission(apps: Any, model: str, action: str) -> Any:
    app_label, model_name = model.split(".")
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label=app_label, model=model_name
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type,
        codename=f"{action}_{model_name}",
        defaults={"name": f"Can {action} {_label(apps, app_label, model_name)}"},
    )
    return permission


def _label(apps: Any, app_label: str, model_name: str) -> str:
    try:
        return str(apps.get_model(app_label, model_name)._meta.verbose_name_raw)
    except LookupError:
        # A model of an app whose migrations run later.
        return {"apitoken": "API token"}.get(model_name, model_name)
