"""Who may open which page, where sign-in leads, and what an error looks like."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from scheduler.rules.presets import PRESETS
from tests.build import queued

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff():
    return get_user_model().objects.create_superuser("ada", password="a-long-password")


@pytest.fixture
def private(settings) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_read": False})


def test_visitor_sees_the_page_with_disabled_controls_and_gets_no_cookie(client: Client) -> None:
    answer = client.get("/")

    page = answer.content.decode()
    assert 'data-staff="false"' in page
    assert '<fieldset class="presets" id="presets" disabled>' in page
    assert not answer.cookies


def test_staff_gets_enabled_controls_and_a_token(client: Client, staff) -> None:
    client.force_login(staff)

    answer = client.get("/")

    page = answer.content.decode()
    assert 'data-staff="true"' in page
    # Only the button that waits for its script: without the script the browser itself would submit the form.
    assert re.findall(r"<[^>]* disabled[^>]*>[^<]*", page) == ['<button class="button" type="submit" disabled>Inject']
    assert settings.CSRF_COOKIE_NAME in answer.cookies


def test_every_preset_is_offered(client: Client) -> None:
    page = client.get("/").content.decode()

    for preset, of in PRESETS.items():
        assert f'value="{preset}"><span>{of.label}</span>' in page


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/1", "/jobs/new", "/dead-letters"])
def test_private_page_sends_a_visitor_to_sign_in(client: Client, private, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer["Location"]) == (302, f"/login?next={path}")


def test_job_page_offers_only_what_its_reader_may_do(client: Client, django_user_model) -> None:
    job = queued()
    reader = django_user_model.objects.create_user("bob")
    reader.user_permissions.set(Permission.objects.filter(codename="add_job"))

    visitor = client.get(f"/jobs/{job.id}")
    client.force_login(reader)
    submitter = client.get(f"/jobs/{job.id}").content.decode()

    assert not visitor.cookies
    assert 'id="run-again"' not in visitor.content.decode()
    assert ('id="run-again"' in submitter, 'id="cancel"' in submitter) == (True, False)


@pytest.mark.parametrize("job_id", ["77", "9" * 30, "x", "-1", "9" * 5000])
def test_job_that_is_not_there_is_not_found(client: Client, job_id: str) -> None:
    assert client.get(f"/jobs/{job_id}").status_code == 404


def test_list_offers_the_words_of_the_cluster_as_filters(client: Client) -> None:
    page = client.get("/jobs?state=%3Cscript%3E").content.decode()

    assert {'<option value="failed">', '<option value="out_of_memory">', '<option value="matrix">'} <= {
        found.group() for found in re.finditer(r'<option value="\w+">', page)
    }
    assert "<script>" not in page


def test_private_page_is_forbidden_to_users_who_are_not_staff(client: Client, private) -> None:
    client.force_login(get_user_model().objects.create_user("bob"))

    answer = client.get("/")

    assert answer.status_code == 403
    assert "Not allowed" in answer.content.decode()


def test_sign_in_leads_back_to_where_it_was_asked_for(client: Client, staff) -> None:
    answer = client.post("/login", {"username": "ada", "password": "a-long-password", "next": "/admin/"})

    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_sign_in_never_leads_to_another_host(client: Client, staff, elsewhere: str) -> None:
    answer = client.post("/login", {"username": "ada", "password": "a-long-password", "next": elsewhere})

    assert (answer.status_code, answer["Location"]) == (302, "/")


def test_wrong_password_is_said_on_the_page(client: Client, staff) -> None:
    answer = client.post("/login", {"username": "ada", "password": "wrong"})

    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()


def test_sign_out_takes_a_post(client: Client, staff) -> None:
    client.force_login(staff)

    assert client.get("/logout").status_code == 405
    assert client.post("/logout")["Location"] == "/"
    assert 'data-staff="false"' in client.get("/").content.decode()


def test_flower_is_linked_on_the_host_of_the_request(client: Client, settings) -> None:
    port = settings.ENVIRONMENT.flower_port

    assert f'href="http://localhost:{port}/"' in client.get("/", headers={"host": "localhost:8080"}).content.decode()
    assert f'href="http://[::1]:{port}/"' in client.get("/", headers={"host": "[::1]:8080"}).content.decode()


def test_pages_allow_nothing_from_another_host_and_no_inline_script(client: Client) -> None:
    answer = client.get("/")

    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "<script>" not in answer.content.decode()


def test_unknown_address_is_a_page_in_our_look(client: Client) -> None:
    answer = client.get("/nothing-here")

    assert answer.status_code == 404
    assert "Not found" in answer.content.decode()


def test_unknown_address_below_api_is_problem_details(client: Client) -> None:
    answer = client.get("/api/nothing-here")

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["status"] == 404


def test_form_that_is_out_of_date_is_a_page_in_our_look(staff) -> None:
    client = Client(enforce_csrf_checks=True)

    answer = client.post("/login", {"username": "ada", "password": "a-long-password"})

    assert answer.status_code == 403
    assert "Form out of date" in answer.content.decode()


def test_form_is_for_those_who_may_submit(client: Client) -> None:
    user = get_user_model().objects.create_user("carol", is_staff=True)
    client.force_login(user)

    assert client.get("/jobs/new").status_code == 403
    assert "/jobs/new" not in client.get("/jobs").content.decode()
    user.user_permissions.add(Permission.objects.get(codename="change_job"))
    assert client.get("/jobs/new").status_code == 200
    assert "/jobs/new" in client.get("/jobs").content.decode()
