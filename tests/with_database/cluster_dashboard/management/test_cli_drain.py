"""drain and undrain: the change, its event, and an unknown GPU."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command

from cluster_dashboard.console import command
from scheduler.models import ClusterEvent, Gpu

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def gpus(monkeypatch):
    # The tests' database may be in memory, without a file.
    monkeypatch.setattr(command, "check_database_is_there", lambda: None)
    Gpu.objects.all().delete()
    Gpu.objects.bulk_create([Gpu(index=index, backend="simulated") for index in (0, 1)])


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
