"""The groups of the migration: what each may do in the admin, and what only a superuser may."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.test import Client

from scheduler.admin.groups import ADMIN, GROUPS, OPERATOR, VIEWER, create_groups
from scheduler.models import ClusterEvent, Control, Gpu
from scheduler.rules.states import JobState
from tests.build import queued, reread

JOBS = "/admin/scheduler/job/"

pytestmark = pytest.mark.usefixtures("control", "gpus", "groups")


@pytest.fixture
def groups(transactional_db: None) -> None:
    """Created as by the migration, since the end of each test empties every table."""
    create_groups(apps)


@pytest.fixture
def sign_in(client: Client, django_user_model: Any) -> Any:
    def sign_in(group: str) -> Client:
        user = django_user_model.objects.create_user(f"{group}-ada", is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        client.force_login(user)
        return client

    return sign_in


@pytest.mark.parametrize("group", [VIEWER, OPERATOR, ADMIN])
@pytest.mark.parametrize("page", ["job", "gpu", "clusterevent", "rollup", "checkpoint", "control/1/change"])
def test_every_group_sees_the_cluster(sign_in: Any, group: str, page: str) -> None:
    assert sign_in(group).get(f"/admin/scheduler/{page}/").status_code == 200


def test_a_viewer_changes_nothing(sign_in: Any) -> None:
    client, job = sign_in(VIEWER), queued()

    client.post(JOBS, {"action": "cancel", "_selected_action": [str(job.id)]})
    answers = [
        client.post("/admin/scheduler/control/1/change/", {"paused": "on"}),
        client.post("/admin/scheduler/gpu/0/change/", {"drained": "on"}),
        client.get("/admin/auth/user/"),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3
    assert reread(job).state == JobState.QUEUED


def test_an_operator_acts_on_jobs_load_and_gpus(sign_in: Any) -> None:
    client, job = sign_in(OPERATOR), queued()

    client.post(JOBS, {"action": "cancel", "_selected_action": [str(job.id)]})
    client.post("/admin/scheduler/control/1/change/", {"rate_per_minute": "25", "fault_profile": "demo"})
    client.post("/admin/scheduler/gpu/0/change/", {"failure_rate": "0.5", "drained": "on"})

    assert reread(job).state == JobState.CANCELLED
    assert Control.objects.get().rate_per_minute == 25
    assert Gpu.objects.get(index=0).drained


def test_an_operator_sees_no_users(sign_in: Any) -> None:
    assert sign_in(OPERATOR).get("/admin/auth/user/").status_code == 403


def test_an_admin_makes_users_and_puts_them_in_groups(sign_in: Any, django_user_model: Any) -> None:
    client = sign_in(ADMIN)

    made = {"username": "vera", "password1": "long-enough-1", "password2": "long-enough-1", "usable_password": "true"}
    client.post("/admin/auth/user/add/", made)
    vera = django_user_model.objects.get(username="vera")
    group = Group.objects.get(name=VIEWER)
    client.post(f"/admin/auth/user/{vera.id}/change/", {**profile("vera"), "groups": [str(group.id)], "is_staff": "on"})

    assert list(vera.groups.all()) == [group]


def profile(name: str) -> dict[str, str]:
    return {"username": name, "is_active": "on", "date_joined_0": "2026-03-02", "date_joined_1": "12:00:00"}


def test_an_admin_cannot_become_a_superuser(sign_in: Any, django_user_model: Any) -> None:
    client = sign_in(ADMIN)
    me = django_user_model.objects.get(username="admin-ada")

    client.post(f"/admin/auth/user/{me.id}/change/", {**profile("admin-ada"), "is_staff": "on", "is_superuser": "on"})

    me.refresh_from_db()
    assert me.is_staff
    assert not me.is_superuser


@pytest.mark.parametrize("page", ["change", "password", "delete"])
def test_an_admin_cannot_touch_a_superuser(sign_in: Any, django_user_model: Any, page: str) -> None:
    root = django_user_model.objects.create_superuser("root", password="long-enough-1")
    client = sign_in(ADMIN)
    data = {**profile("root"), "password1": "mine-now-12", "password2": "mine-now-12", "post": "yes"}

    answer = client.post(f"/admin/auth/user/{root.id}/{page}/", data)

    root.refresh_from_db()
    assert answer.status_code == 403
    assert root.check_password("long-enough-1")


def test_each_group_may_all_that_the_one_before_may() -> None:
    names = list(GROUPS)
    rights = [set(Group.objects.get(name=name).permissions.values_list("id", flat=True)) for name in names]

    assert rights[0] < rights[1] < rights[2]


def test_a_second_run_takes_nothing_away() -> None:
    group = Group.objects.get(name=VIEWER)
    extra = Group.objects.get(name=OPERATOR).permissions.exclude(group=group).first()
    group.permissions.add(extra)

    create_groups(apps)

    assert extra in group.permissions.all()
    assert Group.objects.count() == 3


# --- audit


def test_an_action_on_jobs_leaves_an_audit_event(admin_client: Client) -> None:
    jobs = [queued(), queued()]

    admin_client.post(JOBS, {"action": "cancel", "_selected_action": [str(job.id) for job in jobs]})

    event = ClusterEvent.objects.get()
    assert (event.kind, event.actor, event.message) == ("jobs", "admin", "Cancel: 2 jobs cancelled, by admin")
    assert event.before == {str(job.id): "queued" for job in jobs}
    assert event.after == {str(job.id): "cancelled" for job in jobs}


def test_the_audit_can_be_told_from_what_the_cluster_says(admin_client: Client) -> None:
    ClusterEvent.objects.create(kind="fault", message="GPU 1: fault injected")
    by_ada = {"actor": "ada", "before": {"drained": False, "n": 1}, "after": {"drained": True, "n": 1}}
    audit = ClusterEvent.objects.create(kind="gpu", message="GPU 1: drained True, by ada", **by_ada)

    page = admin_client.get("/admin/scheduler/clusterevent/?who=people")

    assert list(page.context["cl"].result_list) == [audit]
    assert "drained: False \N{RIGHTWARDS ARROW} True" in page.content.decode()
