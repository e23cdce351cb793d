"""Who may read, who may control, and that no control can be forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from cluster_dashboard.access import Right, bearer, may, may_read
from cluster_dashboard.models import ApiToken
from cluster_dashboard.tokens import Scope, create_token, revoke_token
from scheduler.job_type import ParamsInvalid
from scheduler.models import ClusterEvent, Control

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
TOKEN = {"authorization": "Bearer token-of-the-tests-0123456789"}


@pytest.fixture
def private(settings: Any) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_read": False})


@pytest.fixture
def strict_client() -> Client:
    """As a browser: Django's CSRF check is on."""
    return Client(enforce_csrf_checks=True)


def patch_rate(client: Client, **headers: str) -> Any:
    body = {"rate_per_minute": 3}
    return client.patch("/api/control", body, content_type="application/json", headers=headers)


# --- no control can be forgotten ------------------------------------------------------------------


def addresses(patterns: list[Any], prefix: str = "/") -> Iterator[str]:
    """An example of every address in the URLconf."""
    for pattern in patterns:
        is_route = isinstance(pattern.pattern, RoutePattern)
        path = prefix + (re.sub("<[^>]*>", "1", str(pattern.pattern)) if is_route else "nothing-there")
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield path


@pytest.mark.usefixtures("control", "gpus")
def test_every_address_refuses_a_change_by_an_unknown_visitor(strict_client: Client) -> None:
    everywhere = set(addresses(get_resolver().url_patterns))

    answers = {
        (method, path): strict_client.generic(method, path).status_code for path in everywhere for method in UNSAFE
    }

    operations = {what for what, status in answers.items() if what[1].startswith("/api/") and status == 401}
    assert operations >= {
        ("PATCH", "/api/control"),
        ("POST", "/api/jobs"),
        ("POST", "/api/jobs/1/cancel"),
        ("POST", "/api/jobs/1/run-again"),
        ("PATCH", "/api/gpus/1"),
        ("POST", "/api/gpus/1/faults"),
        ("DELETE", "/api/dead-letters"),
        ("DELETE", "/api/dead-letters/1"),
    }
    # An operation without permission would look for job 1, and find none: 404 is no refusal below /api/.
    open_operations = {
        (*what, status)
        for what, status in answers.items()
        if what[1].startswith("/api/") and status not in {401, 405} and not what[1].endswith("nothing-there")
    }
    assert open_operations == set()
    assert {what for what, status in answers.items() if status not in {401, 403, 404, 405}} == set()


# --- the rules ------------------------------------------------------------------------------------


def test_reading_is_for_everybody_unless_it_is_private(private: None, admin_user: Any) -> None:
    visitor = AnonymousUser()

    assert not may_read(visitor)
    assert not may_read(None)
    assert may_read(admin_user)


def user_with(django_user_model: Any, *permissions: str, **fields: Any) -> Any:
    user = django_user_model.objects.create_user("ada", **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.mark.parametrize(
    ("permission", "rights"),
    [
        ("view_job", set()),
        ("add_job", {Right.SUBMIT}),
        ("change_job", {Right.SUBMIT, Right.CANCEL}),
        ("change_control", {Right.CONTROL}),
        ("change_gpu", {Right.CHANGE_GPU}),
    ],
)
def test_each_right_takes_its_permission(permission: str, rights: set[Right], db: None, django_user_model: Any) -> None:
    user = user_with(django_user_model, permission)

    assert {right for right in Right if may(user, right)} == rights | {Right.READ}


def test_dismissed_user_may_nothing(private: None, db: None, django_user_model: Any) -> None:
    eve = user_with(django_user_model, "change_control", "change_job", is_staff=True, is_active=False)

    assert [right for right in Right if may(eve, right)] == []


def test_an_anonymous_user_may_not_control(db: None) -> None:
    assert not may(None, Right.CONTROL)
    assert not may(AnonymousUser(), Right.CONTROL)


def test_no_token_is_right_where_none_is_set(settings: Any, db: None) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"api_token": None})

    assert bearer("") is None
    assert bearer("None") is None


@pytest.mark.parametrize("given", ["tökén \ud800", "gct_tökén \ud800", "gct_"])
def test_token_with_odd_characters_is_only_wrong(given: str, db: None) -> None:
    assert bearer(given) is None


# --- tokens with scopes ---------------------------------------------------------------------------

#: What each scope is asked for: method, path, body.
ASKED = {
    Scope.READ: ("GET", "/api/jobs", None),
    Scope.SUBMIT: ("POST", "/api/jobs", {"type": "sleep"}),
    Scope.CONTROL: ("PATCH", "/api/control", {"rate_per_minute": 3}),
}


def with_token(secret: str, scope: Scope) -> Any:
    method, path, body = ASKED[scope]
    text = "" if body is None else json.dumps(body)
    headers = {"authorization": f"Bearer {secret}"}
    return Client().generic(method, path, text, content_type="application/json", headers=headers)


@pytest.mark.parametrize("asked", list(Scope))
@pytest.mark.parametrize("scope", list(Scope))
def test_token_is_good_for_its_scope_and_for_reading(
    scope: Scope, asked: Scope, private: None, control: Control
) -> None:
    _, secret = create_token("ci", [scope], actor="cli (ada)")

    answer = with_token(secret, asked)

    assert (answer.status_code < 300) == (asked in {scope, Scope.READ})
    assert answer.status_code in {200, 202, 403}


def test_revoked_token_is_refused_at_once(control: Control) -> None:
    _, secret = create_token("ci", ["control"], actor="cli (ada)")
    assert with_token(secret, Scope.CONTROL).status_code == 200

    assert revoke_token("ci", actor="eve")

    assert with_token(secret, Scope.READ).status_code == 401
    assert not revoke_token("ci", actor="eve")


def test_token_is_named_in_the_audit_event_of_what_it_changed(control: Control) -> None:
    _, secret = create_token("ci", ["control"], actor="cli (ada)")

    with_token(secret, Scope.CONTROL)

    assert list(ClusterEvent.objects.order_by("id").values_list("kind", "actor")) == [
        ("token", "cli (ada)"),
        ("control", "token ci"),
    ]


def test_secret_is_kept_nowhere(db: None) -> None:
    token, secret = create_token("ci", ["read"], actor="cli (ada)")

    row = ApiToken.objects.filter(id=token.id).values().get()
    assert secret.startswith(row["prefix"])
    assert not any(secret in str(value) for value in row.values())
    assert not any(secret in str(row) for row in ClusterEvent.objects.values())


def test_use_of_a_token_is_noted(control: Control) -> None:
    token, secret = create_token("ci", ["read"], actor="cli (ada)")

    with_token(secret, Scope.READ)

    token.refresh_from_db()
    assert token.last_used_at is not None


def test_name_of_a_token_is_free_again_after_it_is_revoked(db: None) -> None:
    create_token("ci", ["read"], actor="cli (ada)")

    with pytest.raises(ParamsInvalid, match="'ci' is taken"):
        create_token("ci", ["read"], actor="cli (ada)")

    revoke_token("ci", actor="cli (ada)")
    create_token("ci", ["read"], actor="cli (ada)")


@pytest.mark.parametrize(
    ("name", "scopes", "words"),
    [("ci", [], "one or more of read"), ("ci", ["all"], "one or more of"), ("a b", ["read"], "letters")],
)
def test_wrong_token_is_not_made(name: str, scopes: list[str], words: str, db: None) -> None:
    with pytest.raises(ParamsInvalid, match=words):
        create_token(name, scopes, actor="cli (ada)")

    assert not ApiToken.objects.exists()


# --- the API's answers ----------------------------------------------------------------------------


def test_control_without_credentials_says_how_to_show_some(control: Control, strict_client: Client) -> None:
    answer = patch_rate(strict_client)

    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert answer["Content-Type"] == "application/problem+json"
    assert "API_TOKEN" in answer.json()["detail"]


def test_wrong_token_is_refused_even_where_reading_is_public(control: Control, client: Client) -> None:
    answer = client.get("/api/control", headers={"authorization": "Bearer guessed"})

    assert answer.status_code == 401


def test_wrong_token_is_not_saved_by_a_staff_session(control: Control, admin_client: Client) -> None:
    assert patch_rate(admin_client, authorization="Bearer guessed").status_code == 401


def test_token_needs_no_csrf_and_is_named_in_the_audit_event(control: Control, strict_client: Client) -> None:
    answer = patch_rate(strict_client, **TOKEN)

    assert answer.status_code == 200
    assert ClusterEvent.objects.get().actor == "token"


def test_staff_session_without_csrf_token_is_refused(control: Control, strict_client: Client, admin_user: Any) -> None:
    strict_client.force_login(admin_user)

    answer = patch_rate(strict_client)

    assert answer.status_code == 403
    assert "CSRF" in answer.json()["detail"]
    assert not ClusterEvent.objects.exists()


def test_staff_session_with_csrf_token_is_named_in_the_audit_event(
    control: Control, strict_client: Client, admin_user: Any
) -> None:
    strict_client.force_login(admin_user)
    strict_client.get("/api/docs")
    token = strict_client.cookies["gpu_cluster_csrf"].value

    answer = patch_rate(strict_client, **{"x-csrftoken": token})

    assert answer.status_code == 200
    assert ClusterEvent.objects.get().actor == admin_user.username


def test_user_without_the_permission_may_not_control(control: Control, client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("bob"))

    assert patch_rate(client).status_code == 403


@pytest.mark.parametrize("path", ["/api/control", "/api/jobs", "/api/gpus", "/api/job-types", "/api/jobs/1"])
def test_private_cluster_shows_nothing_to_a_visitor(path: str, private: None, db: None, client: Client) -> None:
    assert client.get(path).status_code == 401


@pytest.mark.parametrize("path", ["/api/docs", "/api/openapi.json"])
def test_private_docs_lead_to_sign_in(path: str, private: None, db: None, client: Client) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer["Location"]) == (302, f"/login?next={path}")


def test_private_cluster_answers_to_token_and_staff(
    private: None, control: Control, client: Client, admin_client: Client
) -> None:
    assert client.get("/api/control", headers=TOKEN).status_code == 200
    assert client.get("/api/openapi.json", headers=TOKEN).status_code == 200
    assert admin_client.get("/api/control").status_code == 200


def test_docs_load_nothing_from_another_host_and_run_no_inline_script(client: Client) -> None:
    page = client.get("/api/docs").content.decode()

    assert re.findall(r'(?:src|href)="(?!/)', page) == []
    assert re.findall(r"<script(?![^>]*(?:src=|application/json))", page) == []
