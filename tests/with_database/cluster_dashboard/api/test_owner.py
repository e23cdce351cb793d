"""Who submitted a job is written once, by the submit call, and is shown and searched everywhere."""

from __future__ import annotations

import json
import os
import pwd
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from cluster_dashboard.tokens import create_token
from scheduler.loops import generator
from scheduler.models import Job
from scheduler.rules.states import Source
from tests.build import queued, submit
from tests.with_database.cli import run
from tests.with_database.cluster_dashboard.api.test_api import Api, api, no_broker, problem

__all__ = ["api", "no_broker"]

pytestmark = pytest.mark.usefixtures("control", "gpus", "no_broker")

BODY = {"type": "sleep", "params": {"seconds": 0}}


def posted(client: Client, path: str, body: Any, **headers: str) -> Job:
    answer = client.post(path, json.dumps(body), content_type="application/json", headers=headers)
    assert answer.status_code == 202, answer.content
    return Job.objects.get(id=answer.json()["ids"][0])


@pytest.fixture
def ada(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("ada"))
    return client


def test_the_owner_is_the_user_of_the_session_or_the_token(ada: Client) -> None:
    _, secret = create_token("ci", ["submit"], actor="ada")

    assert posted(ada, "/api/jobs", BODY).owner == "ada"
    assert posted(ada, "/api/jobs", {"jobs": [BODY]}).owner == "ada"
    assert posted(Client(), "/api/jobs", BODY, authorization=f"Bearer {secret}").owner == "token ci"


def test_who_runs_a_job_again_owns_the_new_one(ada: Client) -> None:
    job = queued(owner="grace")

    again = posted(ada, f"/api/jobs/{job.id}/run-again", None)

    assert (again.owner, Job.objects.get(id=job.id).owner) == ("ada", "grace")


def test_the_admin_s_copy_belongs_to_who_made_it(ada: Client) -> None:
    job = queued(owner="grace")

    ada.post("/admin/scheduler/job/", {"action": "run_again", "_selected_action": [job.id]})

    assert Job.objects.latest("id").owner == "ada"


def test_a_command_s_job_belongs_to_the_unix_user() -> None:
    assert run("submit", "sleep").code == 0

    assert Job.objects.get().owner == pwd.getpwuid(os.getuid()).pw_name


def test_the_generator_owns_nothing(control: Any) -> None:
    control.rate_per_minute = 60_000
    control.save()
    for _ in range(2):
        generator.tick()

    assert set(Job.objects.values_list("owner", "source")) <= {("", Source.GENERATOR.value)}


def test_nobody_names_another_owner(api: Api) -> None:
    answer = api.post("/jobs", {**BODY, "owner": "grace"})

    assert problem(answer)[1].keys() == {"owner"}
    assert not Job.objects.exists()


def test_a_renamed_or_deleted_user_still_owns_what_was_submitted(ada: Client) -> None:
    job = posted(ada, "/api/jobs", BODY)

    get_user_model().objects.filter(username="ada").delete()

    assert Job.objects.get(id=job.id).owner == "ada"


def test_jobs_are_found_by_their_owner(api: Api) -> None:
    [mine], [_theirs], [nobodys] = submit(owner="ada"), submit(owner="grace"), submit()

    assert [job["id"] for job in api.get("/jobs?owner=ada").json()["jobs"]] == [mine.id]
    assert [job["id"] for job in api.get("/jobs?owner=").json()["jobs"]] == [nobodys.id]
    assert api.get(f"/jobs/{mine.id}").json()["owner"] == "ada"
    assert problem(api.get(f"/jobs?owner={'x' * 151}"))[1].keys() == {"owner"}
    assert [line.split()[0] for line in run("jobs", "--owner", "ada").out.splitlines()[1:]] == [str(mine.id)]
    assert "ada, by api" in run("job", mine.id).out


def test_pages_offer_the_owners_that_have_jobs(ada: Client) -> None:
    for owner in ("grace", "ada", "", "grace", "token ci"):
        submit(owner=owner)

    assert Job.objects.all().owners(50) == ["ada", "grace", "token ci"]
    assert Job.objects.all().owners(2) == ["ada", "grace"]
    page = ada.get("/jobs").content.decode()
    assert '<select name="owner">' in page
    assert '<option value="grace">' in page
    listed = ada.get("/admin/scheduler/job/?owner=grace")
    assert {job.owner for job in listed.context["cl"].result_list} == {"grace"}
