"""Nobody gains more than was given: through another's account, a group, a token of the past, or a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from cluster_dashboard.access import bearer
from cluster_dashboard.tokens import Scope, create_token
from scheduler.admin.groups import create_groups
from scheduler.models import ClusterEvent
from tests.with_database.cli import run

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.fixture(autouse=True)
def groups(transactional_db: None) -> None:
    create_groups(apps)


#: What the form of a user asks for besides.
JOINED = {"date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
PASSWORD = "a password that is long"


def user(name: str, *groups: str, **fields: Any) -> Any:
    found = get_user_model().objects.create_user(name, password=PASSWORD, is_staff=True, **fields)
    found.groups.set(Group.objects.filter(name__in=groups))
    return found


def signed_in(someone: Any) -> Client:
    client = Client()
    client.force_login(someone)
    return client


@pytest.fixture
def admin() -> Client:
    """Of the group admin, not a superuser."""
    return signed_in(user("ada", "admin"))


# --- other accounts


def test_a_stronger_user_s_password_and_page_are_closed(admin: Client) -> None:
    stronger = user("grace", "admin")
    stronger.user_permissions.add(Permission.objects.get(codename="delete_job"))
    before = stronger.password

    page = f"/admin/auth/user/{stronger.pk}"
    changed = admin.post(f"{page}/password/", {"password1": "another long one 1", "password2": "another long one 1"})
    admin.post(f"{page}/delete/", {"post": "yes"})

    stronger.refresh_from_db()
    assert changed.status_code == 403
    assert stronger.password == before


def test_a_deactivated_user_s_permissions_count(admin: Client) -> None:
    asleep = user("grace", "admin", is_active=False)
    asleep.user_permissions.add(Permission.objects.get(codename="delete_job"))

    assert b"Save" not in admin.get(f"/admin/auth/user/{asleep.pk}/change/").content


def test_only_groups_with_one_s_own_permissions_are_offered_and_taken(admin: Client) -> None:
    gods = Group.objects.create(name="gods")
    gods.permissions.set(Permission.objects.all())
    weaker = user("grace", "viewer")
    form = {"username": "grace", "is_active": "on", "is_staff": "on", **JOINED}

    page = admin.get(f"/admin/auth/user/{weaker.pk}/change/")
    refused = admin.post(f"/admin/auth/user/{weaker.pk}/change/", {**form, "groups": [gods.pk]})

    assert {group.name for group in page.context["adminform"].form.fields["groups"].queryset} == {
        "viewer",
        "operator",
        "admin",
    }
    assert refused.status_code == 200
    assert [group.name for group in weaker.groups.all()] == ["viewer"]


def test_a_member_with_rights_on_groups_does_not_widen_them() -> None:
    member = user("ada", "admin")
    member.user_permissions.set(Permission.objects.filter(content_type__app_label="auth", content_type__model="group"))
    group = Group.objects.get(name="admin")

    everything = list(Permission.objects.values_list("pk", flat=True))
    form = {"name": "admin", "permissions": everything}
    answer = signed_in(member).post(f"/admin/auth/group/{group.pk}/change/", form)

    assert answer.status_code == 403
    assert group.permissions.count() < Permission.objects.count()


def test_changes_of_accounts_are_events(admin: Client) -> None:
    weaker = user("grace", "viewer")
    form = {"username": "grace", "is_active": "on", "first_name": "Grace", **JOINED}
    assert admin.post(f"/admin/auth/user/{weaker.pk}/change/", form).status_code == 302
    passwords = {"password1": "another long one 1", "password2": "another long one 1"}
    admin.post(f"/admin/auth/user/{weaker.pk}/password/", passwords)
    admin.post("/admin/auth/user/add/", {"username": "linus", "usable_password": "true", **passwords})
    gone = admin.post(f"/admin/auth/user/{weaker.pk}/delete/", {"post": "yes"})
    assert gone.status_code == 302, gone.content.decode()[-3000:]

    found = list(ClusterEvent.objects.filter(kind="account").order_by("id").values_list("actor", "message"))
    assert {actor for actor, _ in found} == {"ada"}
    assert [message.removesuffix(", by ada") for _, message in found] == [
        "user grace changed: First name, Staff status, Groups, Date joined",
        "user grace changed: password",
        "user linus created",
        "user grace deleted",
    ]


# --- tokens


def test_a_token_ends_with_the_account_of_who_made_it() -> None:
    maker = user("ada", "admin")
    _, secret = create_token("ci", ["submit", "control"], actor="ada")
    assert bearer(secret) is not None

    get_user_model().objects.filter(pk=maker.pk).update(is_active=False)
    assert bearer(secret) is None
    get_user_model().objects.filter(pk=maker.pk).update(is_active=True, is_staff=False)
    assert bearer(secret) is None
    maker.delete()
    assert bearer(secret) is None


def test_a_token_permits_no_more_than_its_maker_may_now() -> None:
    maker = user("ada", "admin")
    _, secret = create_token("ci", ["submit", "control"], actor="ada")

    maker.groups.set(Group.objects.filter(name="viewer"))

    found = bearer(secret)
    assert found is not None
    assert found.scopes == {Scope.READ}


def test_a_token_made_by_a_command_needs_no_user() -> None:
    _, secret = create_token("ci", ["control"], actor="cli (root)")

    found = bearer(secret)
    assert found is not None
    assert found.scopes == {Scope.READ, Scope.CONTROL}


# --- names


@pytest.mark.parametrize("name", ["token", "Token", "chaos", "generator"])
def test_no_user_is_called_like_what_is_no_user(admin: Client, name: str) -> None:
    passwords = {"password1": "another long one 1", "password2": "another long one 1"}
    answer = admin.post("/admin/auth/user/add/", {"username": name, "usable_password": "true", **passwords})

    assert b"is reserved" in answer.content
    with pytest.raises((CommandError, ValidationError)):
        call_command("createsuperuser", "--noinput", username=name, email="a@example.org")
    assert not get_user_model().objects.filter(username__iexact=name).exists()


# --- commands


def test_backup_and_new_secrets_are_events(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.STATE_DIR = tmp_path
    settings.RUN_DIR = settings.LOG_DIR = tmp_path / "run"
    monkeypatch.delenv("API_TOKEN", raising=False)

    assert run("backup", tmp_path / "backup.zip").code == 0
    assert run("rotate", "API_TOKEN").code == 0

    assert list(ClusterEvent.objects.order_by("id").values_list("kind", flat=True)) == ["backup", "rotate"]
    assert all("by cli (" in message for message in ClusterEvent.objects.values_list("message", flat=True))
