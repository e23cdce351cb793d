"""The admin: what it shows, what its actions do, and who may use them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from scheduler.admin.lists import ROWS_MAXIMUM, CappedPaginator
from scheduler.jobs import lifecycle
from scheduler.models import ClusterEvent, Control, Gpu, Job
from scheduler.rules.states import JobState, Reason, Source
from tests.build import ended, queued, reread, running, story, submit

JOBS = "/admin/scheduler/job/"

pytestmark = pytest.mark.usefixtures("control", "gpus", "no_broker")


@pytest.fixture
def no_broker(settings: Any, tmp_path: Any) -> None:
    """Hints are lost; a copy of a job is submitted nevertheless."""
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"


@pytest.fixture
def viewer(client: Client, django_user_model: Any) -> Client:
    """A member of staff who may view every model of this project and change none."""
    user = django_user_model.objects.create_user("vera", is_staff=True)
    of_ours = Permission.objects.filter(content_type__app_label="scheduler", codename__startswith="view_")
    user.user_permissions.set(of_ours)
    client.force_login(user)
    return client


def act(client: Client, action: str, *jobs: Job, **more: str) -> list[str]:
    """Runs an action of the list; returns the messages on the next page."""
    data = {"action": action, "_selected_action": [str(job.id) for job in jobs], **more}
    page = client.post(JOBS, data, follow=True)
    return [str(message) for message in page.context["messages"]]


def names_in(page: Any) -> list[str]:
    return [job.name for job in page.context["cl"].result_list]


# --- the list of jobs -----------------------------------------------------------------------------


def test_list_shows_the_newest_job_first(admin_client: Client) -> None:
    jobs = submit(3)

    assert names_in(admin_client.get(JOBS)) == [job.name for job in jobs[::-1]]


@pytest.mark.parametrize(
    "query", ["state=running", "type=matrix", "priority=critical", "gpu=1", "source=admin", "state=running&gpu=1"]
)
def test_filter_leaves_what_fits(admin_client: Client, query: str) -> None:
    wanted = running(gpu=1, type="matrix", params={}, priority="critical", source=Source.ADMIN)
    queued()

    query = re.sub(r"\b(state|priority|source)=", r"\1__exact=", query)

    assert names_in(admin_client.get(f"{JOBS}?{query}")) == [wanted.name]


@pytest.mark.parametrize("query", ["type=nope", "gpu=%00", "gpu=x"])
def test_filter_by_what_is_not_offered_is_ignored(admin_client: Client, query: str) -> None:
    job = queued()

    assert names_in(admin_client.get(f"{JOBS}?{query}")) == [job.name]


def test_search_finds_the_id_and_the_whole_name_only(admin_client: Client) -> None:
    wanted = queued(name="needle")
    queued(name="needle-in-hay")

    assert names_in(admin_client.get(f"{JOBS}?q=needle")) == ["needle"]
    assert names_in(admin_client.get(f"{JOBS}?q={wanted.id}")) == ["needle"]
    assert names_in(admin_client.get(f"{JOBS}?q=needl")) == []


def test_job_whose_name_is_a_number_is_found_beside_the_one_with_that_id(admin_client: Client) -> None:
    first = queued()
    second = queued(name=str(first.id))

    assert names_in(admin_client.get(f"{JOBS}?q={first.id}")) == [second.name, first.name]


@pytest.mark.parametrize("term", ["99999999999999999999", "a%27b", "%ED%A0%80", "1+2"])
def test_search_for_what_no_job_can_be_called_finds_nothing(admin_client: Client, term: str) -> None:
    queued()

    page = admin_client.get(f"{JOBS}?q={term}")

    assert (page.status_code, names_in(page)) == (200, [])


def test_list_counts_no_further_than_it_goes(admin_client: Client) -> None:
    submit(2)

    with CaptureQueriesContext(
        connection,
    ) as queries:
        admin_client.get(f"{JOBS}?state__exact=queued")

    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert counts
    assert all(f"LIMIT {ROWS_MAXIMUM}" in sql for sql in counts)


def test_paginator_stops_at_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    submit(3)
    monkeypatch.setattr("scheduler.admin.lists.ROWS_MAXIMUM", 2)

    assert CappedPaginator(Job.objects.newest_first(), 50).count == 2


# --- a job's page ---------------------------------------------------------------------------------


def test_job_page_tells_the_story_in_order(admin_client: Client) -> None:
    job = running()
    lifecycle.requeue(job.id, 1, Reason.WORKER_DIED, detail="no heartbeat for 9 s")

    page = admin_client.get(f"{JOBS}{job.id}/change/").content.decode()

    kinds = re.findall(r'class="field-kind">\s*<p>([^<]*)', page)
    assert kinds == ["submitted", "started", "requeued"]
    assert "no heartbeat for 9 s" in page


def test_job_page_escapes_what_the_job_wrote(admin_client: Client) -> None:
    job = running()
    evil = "<script>alert(1)</script>"
    lifecycle.end(job.id, 1, JobState.FAILED, reason=Reason.JOB_ERROR, error=evil, result={"x": evil})

    page = admin_client.get(f"{JOBS}{job.id}/change/").content.decode()

    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)") >= 3  # the result, the error, and the event's detail


def test_job_can_be_neither_edited_nor_added_nor_deleted(admin_client: Client) -> None:
    job = queued()

    answers = [
        admin_client.post(f"{JOBS}{job.id}/change/", {"name": "other"}),
        admin_client.post(f"{JOBS}{job.id}/delete/", {"post": "yes"}),
        admin_client.post(f"{JOBS}add/", {"name": "other"}),
        admin_client.get(f"{JOBS}add/"),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4
    assert list(Job.objects.values_list("name", flat=True)) == [job.name]


# --- actions --------------------------------------------------------------------------------------


def test_cancel_says_what_became_of_each_job(admin_client: Client) -> None:
    waiting, runs, over = queued(), running(gpu=0), ended(JobState.SUCCEEDED, gpu=1)

    (message,) = act(admin_client, "cancel", waiting, runs, over)

    assert message == "1 job cancelled; 1 job running, cancel requested; 1 job had already ended."
    assert reread(waiting).state == JobState.CANCELLED
    assert reread(runs).cancel_requested
    assert waiting.events.get(n=2).detail == "by admin"


def test_requeue_charges_nothing_and_leaves_the_others_alone(admin_client: Client) -> None:
    waiting, runs = queued(), running()

    (message,) = act(admin_client, "requeue", waiting, runs)

    after = reread(runs)
    assert message == "1 job not running, unchanged; 1 job requeued."
    assert (after.state, after.attempt, after.failures, after.reason) == ("queued", 2, 0, Reason.OPERATOR)
    assert story(waiting) == [(1, "submitted", 1)]


def test_run_again_submits_a_copy(admin_client: Client) -> None:
    job = ended(JobState.FAILED, priority="high", params={"seconds": 3}, time_limit_seconds=77)

    (message,) = act(admin_client, "run_again", job)

    copy = Job.objects.newest_first()[0]
    assert message == f"Submitted as {copy.id}."
    assert (copy.source, copy.state) == (Source.ADMIN, JobState.QUEUED)
    assert (copy.type, copy.priority, copy.params, copy.time_limit_seconds) == (job.type, "high", job.params, 77)
    assert copy.name != job.name


def test_job_of_a_type_that_is_gone_does_not_run_again(admin_client: Client) -> None:
    job = ended(JobState.FAILED)
    Job.objects.filter(id=job.id).update(type="retired")

    (message,) = act(admin_client, "run_again", job)

    assert "unknown job type 'retired'" in message
    assert Job.objects.count() == 1


def test_action_works_on_the_job_page_too(admin_client: Client) -> None:
    job = queued()
    data = {"CHANGE_FORM-action": "cancel", "_selected_action": str(job.id)}

    admin_client.post(f"{JOBS}{job.id}/change/", data)

    assert reread(job).state == JobState.CANCELLED


def test_action_on_too_many_jobs_does_nothing(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = submit(3)
    monkeypatch.setattr("scheduler.admin.jobs.ACTION_MAXIMUM", 2)

    (message,) = act(admin_client, "cancel", jobs[0], select_across="1")

    assert "Nothing was changed" in message
    assert Job.objects.queued().count() == 3


def test_who_may_only_look_gets_no_actions(viewer: Client) -> None:
    job = queued()

    page = viewer.get(JOBS)
    act(viewer, "cancel", job)

    assert names_in(page) == [job.name]
    assert 'name="action"' not in page.content.decode()
    assert reread(job).state == JobState.QUEUED


def test_who_may_only_look_sees_the_story(viewer: Client) -> None:
    assert "submitted" in viewer.get(f"{JOBS}{queued().id}/change/").content.decode()


# --- GPUs, control, events ------------------------------------------------------------------------


def test_gpu_page_changes_the_switches_with_an_audit_event(admin_client: Client) -> None:
    admin_client.post("/admin/scheduler/gpu/1/change/", {"failure_rate": "0.25", "drained": "on"})

    gpu, event = Gpu.objects.get(index=1), ClusterEvent.objects.get()
    assert (gpu.failure_rate, gpu.drained) == (0.25, True)
    assert (event.gpu, event.actor, event.before["drained"]) == (1, "admin", False)


def sent_back(page: Any) -> dict[str, str]:
    """The form data that a browser sends if nothing was changed on the page."""
    found = {}
    for tag in re.findall(r"<input[^>]*>", page.content.decode()):
        attributes = dict(re.findall(r'(\S+)="([^"]*)"', tag))
        is_off = attributes["type"] == "checkbox" and "checked" not in tag
        if {"name", "value"} <= attributes.keys() and not is_off:
            found[attributes["name"]] = attributes["value"]
    return found


@pytest.mark.parametrize(
    ("path", "prefix"), [("/admin/scheduler/gpu/", "form-0-"), ("/admin/scheduler/gpu/0/change/", "")]
)
def test_gpu_that_somebody_else_drained_meanwhile_stays_drained(admin_client: Client, path: str, prefix: str) -> None:
    fields = sent_back(admin_client.get(path))
    Gpu.objects.filter(index=0).update(drained=True)

    admin_client.post(path, {**fields, f"{prefix}failure_rate": "0.5", "_save": "Save"})

    gpu = Gpu.objects.get(index=0)
    assert (gpu.failure_rate, gpu.drained) == (0.5, True)


def test_gpus_can_be_changed_in_the_list(admin_client: Client) -> None:
    fields = sent_back(admin_client.get("/admin/scheduler/gpu/"))

    admin_client.post("/admin/scheduler/gpu/", {**fields, "form-1-drained": "on", "_save": "Save"})

    assert list(Gpu.objects.values_list("drained", flat=True)) == [False, True, False]
    assert ClusterEvent.objects.get().gpu == 1


@pytest.mark.parametrize("rate", ["1.5", "-0.1", "nan", "inf", "x"])
def test_failure_rate_that_is_no_share_is_refused(admin_client: Client, rate: str) -> None:
    page = admin_client.post("/admin/scheduler/gpu/1/change/", {"failure_rate": rate})

    assert "failure_rate" in page.context["adminform"].form.errors
    assert not ClusterEvent.objects.exists()


def test_control_is_one_page_and_changes_with_an_audit_event(admin_client: Client) -> None:
    path = admin_client.get("/admin/scheduler/control/")["Location"]

    admin_client.post(path, {"rate_per_minute": "40", "paused": "on", "fault_profile": "none"})

    control = Control.objects.get()
    assert (control.rate_per_minute, control.preset, control.paused) == (40, "extreme", True)
    assert control.fault_profile == "none"
    assert ClusterEvent.objects.get().actor == "admin"


@pytest.mark.parametrize("rate", ["0", "-1", "100001", "nan", "inf", ""])
def test_absurd_rate_is_refused(admin_client: Client, rate: str) -> None:
    data = {"rate_per_minute": rate, "fault_profile": "demo"}

    page = admin_client.post("/admin/scheduler/control/1/change/", data)

    assert "rate_per_minute" in page.context["adminform"].form.errors
    assert Control.objects.get().rate_per_minute == 12


@pytest.mark.parametrize("path", ["gpu/1/change/", "control/1/change/"])
def test_who_may_only_look_changes_nothing(viewer: Client, path: str) -> None:
    assert viewer.get(f"/admin/scheduler/{path}").status_code == 200
    assert viewer.post(f"/admin/scheduler/{path}", {"drained": "on", "paused": "on"}).status_code == 403


def test_events_are_shown_and_never_changed(admin_client: Client) -> None:
    event = ClusterEvent.objects.create(kind="worker_died", gpu=1, message="GPU 1: worker silent for 9 s")
    ClusterEvent.objects.create(kind="control", message="Arrivals paused, by ada", actor="ada")
    path = "/admin/scheduler/clusterevent/"

    found = admin_client.get(f"{path}?q=worker_died").context["cl"].result_list

    assert [each.id for each in found] == [event.id]
    assert admin_client.get(f"{path}{event.id}/change/").status_code == 200
    assert admin_client.post(f"{path}{event.id}/change/", {"message": "nothing happened"}).status_code == 403
    assert admin_client.post(f"{path}{event.id}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.usefixtures("gpus")
def test_each_field_in_the_list_of_gpus_says_what_it_is(admin_client: Client) -> None:
    page = admin_client.get("/admin/scheduler/gpu/").content.decode()

    for index in range(3):
        assert f'aria-label="Failure rate of GPU {index}"' in page
        assert f'aria-label="Drained of GPU {index}"' in page
