"""drain and undrain: the change, its event, and an unknown GPU."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command

from cluster_dashboard.console import command, draining
from scheduler.jobs import lifecycle
from scheduler.models import ClusterEvent, Gpu
from scheduler.rules.states import JobState
from tests.build import running
from tests.with_database.cli import Steps, run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def gpus(monkeypatch):
    # The tests' database may be in memory, without a file.
    monkeypatch.setattr(command, "check_database_is_there", lambda: None)
    Gpu.objects.all().delete()
    Gpu.objects.bulk_create([Gpu(index=index, backend="simulated", memory_total_mib=81_559) for index in (0, 1)])


def drained():
    return list(Gpu.objects.filter(drained=True).values_list("index", flat=True))


def test_a_drained_gpu_is_recorded_with_who_did_it():
    call_command("drain", "1")

    assert drained() == [1]
    assert ClusterEvent.objects.get(kind="gpu", gpu=1).actor.startswith("cli (")


def test_all_and_back(capsys):
    call_command("drain", "--all")
    assert drained() == [0, 1]
    capsys.readouterr()

    call_command("undrain", "0", "--json")

    assert json.loads(capsys.readouterr().out) == [{"index": 0, "drained": False}]
    assert drained() == [1]


@pytest.mark.parametrize("words", [("0", "7"), (), ("--all", "0")])
def test_bad_input_names_the_accepted_gpus_and_changes_nothing(words, capsys):
    with pytest.raises(SystemExit) as ended:
        call_command("drain", *words)

    assert ended.value.code == 2
    assert "accepted: 0, 1" in capsys.readouterr().err
    assert drained() == []


def test_wait_ends_when_the_last_job_there_has_ended(control, monkeypatch):
    job = running(gpu=1)
    monkeypatch.setattr(draining, "time", Steps(lambda: lifecycle.end(job.id, job.attempt, JobState.SUCCEEDED)))

    ran = run("drain", "1", "--wait")

    assert ran.code == 0
    assert ran.error_line == f"waits for job {job.id} on GPU 1"
    assert drained() == [1]


def test_wait_gives_up_after_its_timeout_and_names_the_job(control, monkeypatch):
    job = running(gpu=1)
    monkeypatch.setattr(draining, "time", Steps(*[lambda: None] * 4))

    ran = run("drain", "--all", "--wait", "--timeout", "2")

    assert ran.code == 1
    assert ran.err.splitlines()[-1] == f"gpuc drain: after 2 s still running: job {job.id} on GPU 1"
    assert drained() == [0, 1]


def test_a_quarantine_is_released_by_people_whatever_it_was_for(gpus, capsys):
    Gpu.objects.filter(index=1).update(quarantined="GPU fault: NVML: GPU is lost")

    call_command("release", "1")
    call_command("quarantine", "0", "--json")

    assert Gpu.objects.get(index=1).quarantined == ""
    assert Gpu.objects.get(index=0).quarantined.startswith("by cli (")
    messages = list(ClusterEvent.objects.order_by("id").values_list("message", flat=True))
    assert [message.split(", by")[0] for message in messages] == [
        "GPU 1: released from quarantine",
        "GPU 0: quarantined",
    ]


def test_a_release_of_what_is_not_quarantined_is_no_event(gpus):
    call_command("release", "0")

    assert not ClusterEvent.objects.exists()
