"""API tokens: created and revoked in the admin, and by the token command."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from cluster_dashboard.access import bearer
from cluster_dashboard.models import ApiToken
from cluster_dashboard.tokens import Scope, create_token
from tests.with_database import cli

pytestmark = pytest.mark.usefixtures("control")

ADD = "/admin/cluster_dashboard/apitoken/add/"
LIST = "/admin/cluster_dashboard/apitoken/"


def run(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    ran = cli.run("token", *words)
    return ran.code, ran.out, ran.err


# --- gpuc token ------------------------------------------------------------------------------


def test_created_token_is_printed_alone_and_works() -> None:
    code, out, _ = run("create", "ci", "--scope", "submit")

    found = bearer(out.strip())
    assert code == 0
    assert found is not None
    assert (found.actor, found.scopes) == ("token ci", {Scope.READ, Scope.SUBMIT})


def test_list_shows_what_is_valid_and_no_secret() -> None:
    _, secret = create_token("ci", ["control"], actor="cli (ada)")
    create_token("old", ["read"], actor="cli (ada)")
    run("revoke", "old")

    _, out, _ = run("list")

    assert "ci" in out
    assert secret[:10] in out
    assert secret not in out
    assert "old" not in out
    assert [token["name"] for token in json.loads(run("list", "--json")[1])["tokens"]] == ["ci"]


def test_revoked_token_is_wrong() -> None:
    _, secret = create_token("ci", ["read"], actor="cli (ada)")

    assert run("revoke", "ci")[0] == 0
    assert bearer(secret) is None
    assert run("revoke", "ci")[0] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "ci", "--scope", "all"), "--scope: 'all' is not one of read, submit, control"),
        (("create", "a b"), "NAME: expects"),
        (("create",), "NAME: expects"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(words: tuple[str, ...], said: str) -> None:
    code, out, err = run(*words)

    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


# --- the admin ------------------------------------------------------------------------------------


def test_admin_shows_the_secret_once_and_in_no_cache(admin_client: Client) -> None:
    answer = admin_client.post(ADD, {"name": "ci", "scopes": ["submit"]})

    secret = answer.context["secret"]
    assert bearer(secret) is not None
    assert secret in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert secret not in str(answer.cookies)
    assert secret not in admin_client.get(LIST).content.decode()


@pytest.mark.parametrize(
    "fields", [{"name": "a b", "scopes": ["read"]}, {"name": "ci"}, {"name": "taken", "scopes": ["read"]}]
)
def test_wrong_form_is_shown_again(admin_client: Client, fields: dict[str, Any]) -> None:
    create_token("taken", ["read"], actor="cli (ada)")

    answer = admin_client.post(ADD, fields)

    assert "errorlist" in answer.content.decode()
    assert ApiToken.objects.count() == 1


def test_admin_revokes_tokens(admin_client: Client) -> None:
    token, secret = create_token("ci", ["read"], actor="cli (ada)")

    admin_client.post(LIST, {"action": "revoke", "_selected_action": [token.id]})

    assert bearer(secret) is None


def test_token_is_never_edited_or_deleted(admin_client: Client) -> None:
    token, _ = create_token("ci", ["read"], actor="cli (ada)")

    page = admin_client.get(f"{LIST}{token.id}/change/")

    assert page.status_code == 200
    assert 'name="name"' not in page.content.decode()
    assert admin_client.post(f"{LIST}{token.id}/delete/", {"post": "yes"}).status_code == 403


def test_staff_without_the_permission_makes_no_token(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("bob", is_staff=True))

    assert client.post(ADD, {"name": "ci", "scopes": ["control"]}).status_code == 403
    assert not ApiToken.objects.exists()
