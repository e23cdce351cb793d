"""What the first start puts into the database, and what a later one leaves alone."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from cluster_dashboard.environment import read_environment
from cluster_dashboard.operations import first_start
from scheduler.models import Control, Gpu

pytestmark = pytest.mark.django_db

PASSWORD = "generated-at-first-start"


@pytest.fixture(autouse=True)
def environment(settings):
    """Sets variables of the environment; the password is given, as after the first start."""

    def change(**variables: object) -> None:
        given = {name: str(value) for name, value in variables.items()}
        settings.ENVIRONMENT = read_environment({"ADMIN_PASSWORD": PASSWORD, "SEED": "7", **given})

    change()
    return change


def test_a_fresh_database_gets_control_gpus_and_admin(environment):
    environment(GPU_COUNT=3)

    first_start.prepare_database()

    control = Control.objects.get()
    assert (control.rate_per_minute, control.preset, control.seed) == (12.0, "normal", 7)
    assert (control.paused, control.fault_profile) == (False, "demo")
    assert list(Gpu.objects.values_list("index", "failure_rate")) == [(0, 0.05), (1, 0.085), (2, 0.12)]
    assert first_start.admin_password_works()


def test_a_rate_of_no_preset_has_none(environment):
    environment(JOB_RATE=7.5)

    first_start.prepare_database()

    assert Control.objects.values_list("rate_per_minute", "preset").get() == (7.5, "")


def test_on_real_gpus_nothing_is_loaded_or_broken_before_somebody_asks(environment):
    environment(GPU_BACKEND="nvml", GPU_COUNT=1)

    first_start.prepare_database()

    assert Control.objects.values_list("paused", "fault_profile").get() == (True, "none")
    assert Gpu.objects.get().backend == "nvml"


def test_a_later_start_keeps_what_people_changed(environment):
    first_start.prepare_database()
    Control.objects.update(rate_per_minute=40, preset="extreme", paused=True)
    Gpu.objects.filter(index=1).update(failure_rate=0.5, drained=True)

    environment(JOB_RATE=2, GPU_COUNT=9)
    first_start.prepare_database()

    assert Control.objects.values_list("rate_per_minute", "preset", "paused").get() == (40, "extreme", True)
    assert Gpu.objects.filter(index=1).values_list("failure_rate", "drained").get() == (0.5, True)
    assert Gpu.objects.count() == 9


def test_a_changed_admin_password_is_never_reset():
    first_start.prepare_database()
    admin = get_user_model().objects.get(username="admin")
    admin.set_password("of my own choice")
    admin.save()

    first_start.prepare_database()

    admin.refresh_from_db()
    assert admin.check_password("of my own choice")
    assert not first_start.admin_password_works()


def test_an_admin_under_another_name_is_enough():
    get_user_model().objects.create_superuser("grace", password="of my own choice")

    first_start.prepare_database()

    assert not get_user_model().objects.filter(username="admin").exists()


def test_tables_that_are_there_need_no_migration():
    assert first_start.migrate() is False
