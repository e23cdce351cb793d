"""`gpuc gpus`: the table, the API's fields, and what is unknown without the broker."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from cluster_dashboard.api import broker
from scheduler.models import Gpu
from tests.build import running
from tests.with_database.cli import run
from tests.with_database.cluster_dashboard.management.test_cli_status import beat

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.fixture(autouse=True)
def broker_of_the_api(redis: Redis, valkey_server: Any, settings: Any) -> Any:
    settings.REDIS_URL = valkey_server.url
    broker.client.cache_clear()
    yield
    broker.client.cache_clear()


def test_each_gpu_has_a_line_with_its_job_or_the_reason_why_it_accepts_none(redis: Redis) -> None:
    job = running(gpu=0)
    beat(redis, 0, held=(job.id, job.attempt))
    beat(redis, 1, note="drained by an operator")
    Gpu.objects.filter(index=1).update(drained=True)

    ran = run("gpus")

    first, second = ran.out.splitlines()[1:3]
    assert ran.code == 0
    assert first.split()[:3] == ["0", "busy", str(job.id)]
    assert "4.0/80 GiB" in first
    assert second.split()[:2] == ["1", "draining"]
    assert "drained by an operator" in second


def test_json_has_the_fields_of_the_api(redis: Redis, client: Client) -> None:
    beat(redis, 0)

    from_api = client.get("/api/gpus").json()["gpus"]

    found = run("gpus", "--json").json["gpus"]
    age = "heartbeat_age_s"
    assert [{**gpu, age: None} for gpu in found] == [{**gpu, age: None} for gpu in from_api]


def test_without_the_broker_the_rows_are_shown_and_the_exit_code_tells(settings: Any, tmp_path: Any) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"
    broker.client.cache_clear()

    ran = run("gpus")

    assert ran.code == 3
    assert "the broker is unavailable" in ran.error_line
    assert ran.out.splitlines()[1].split()[:2] == ["0", "unknown"]


def test_a_narrow_terminal_cuts_the_note_and_never_a_line(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    beat(redis, 0, note="process 4711 uses it, and does not belong to this worker\x1b[2J" * 3)

    ran = run("gpus", terminal=True)

    shown = re.sub(r"\x1b\[[\d;]*m", "", ran.out)
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b[2J" not in ran.out
