"""`gpuc status`: what it shows, with broker and without, once and live."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import OperationalError, connection
from redis import Redis

from cluster_dashboard.management.commands import status
from scheduler.jobs import lifecycle
from scheduler.loops.heartbeats import Beat, write_beat
from scheduler.loops.samples import samples_key
from scheduler.models import Gpu
from scheduler.rules.states import JobState
from tests.build import ended, queued, running, submit
from tests.with_database.cli import Steps, press_ctrl_c, run

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.fixture
def no_broker(settings: Any, tmp_path: Any) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What happens after each look of the live view."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LINES", "50")
    return lambda *steps: monkeypatch.setattr(status, "time", Steps(*steps))


def beat(redis: Redis, gpu: int = 0, *, held: tuple[int, int] | None = None, note: str = "") -> None:
    """A healthy worker's heartbeat and sample, now."""
    seconds, micros = redis.time()
    now = seconds + micros / 1e6
    boot = f"boot-{gpu}"
    write_beat(
        redis,
        Beat(gpu=gpu, boot=boot, seq=1, pid=1, child_pid=2, host="h", held=(), health="healthy", note=note, at=now),
    )
    sample = {
        "health": "healthy",
        "utilization_percent": 87.4,
        "memory_used_mib": 4096,
        "memory_total_mib": 81559,
        "temperature_c": 61.0,
        "power_w": 512.0,
        "at": now,
        "held": held,
        "progress": 0.42 if held else None,
    }
    redis.hset(samples_key(), str(gpu), json.dumps(sample))


def line_of_gpu(out: str, gpu: int) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.startswith(f"{gpu:>3}  "))


def test_busy_gpu_shows_its_job_and_what_is_measured(redis: Redis) -> None:
    job = running(gpu=0)
    beat(redis, held=(job.id, 1))

    ran = run("status")

    assert (ran.code, ran.err) == (0, "")
    busy = " ".join(line_of_gpu(ran.out, 0))
    assert f"0 busy {job.id} {job.name} 42% 87 % 4.0/80 GiB 61 °C 512 W 0." in busy
    assert line_of_gpu(ran.out, 1)[1] == "offline"


def test_idle_gpu_says_why_it_takes_no_job(redis: Redis) -> None:
    Gpu.objects.filter(index=1).update(drained=True)
    beat(redis, 1, note="drained by an operator")

    assert line_of_gpu(run("status").out, 1)[1:6] == ["draining", "drained", "by", "an", "operator"]


def test_queues_counts_and_rate_are_shown(redis: Redis) -> None:
    submit(2, priority="high")
    ended(JobState.FAILED)

    out = run("status").out

    assert "rate 12 / min (normal)" in out
    assert next(line.split()[:2] for line in out.splitlines() if line.startswith("high")) == ["high", "2"]
    assert "3 submitted: 2 queued  0 running  0 succeeded  1 failed  0 cancelled" in out
    assert "in the last minute 3 arrived, 1 finished" in out


def test_json_has_the_fields_of_the_live_page(redis: Redis) -> None:
    job = running(gpu=0)
    queued()
    beat(redis, held=(job.id, 1))

    shown = run("status", "--json").json

    assert shown["broker_error"] is None
    assert (shown["gpus"][0]["state"], shown["gpus"][0]["job"]["progress"]) == ("busy", 0.42)
    assert shown["queues"]["normal"]["waiting"] == 1
    assert shown["counts"]["running"] == 1
    assert shown["control"] == {"rate_per_minute": 12, "preset": "normal", "paused": False}


def test_what_ended_earlier_counts_for_the_hour_and_not_for_the_minute(redis: Redis) -> None:
    job = ended(JobState.SUCCEEDED)
    long_ago = "2020-01-01T00:00:00+00:00"
    job.events.update(at=long_ago)

    kpi = run("status", "--json").json["kpi"]

    assert (kpi["arrived_per_minute"], kpi["finished_per_minute"], kpi["finished_last_hour"]) == (0, 0, 1)


@pytest.mark.usefixtures("no_broker")
def test_broker_away_is_said_and_the_rest_is_shown() -> None:
    queued()

    ran = run("status")

    assert ran.code == 3
    assert "the broker is unavailable" in ran.out
    assert line_of_gpu(ran.out, 0)[1] == "unknown"
    assert "1 queued" in ran.out


@pytest.mark.usefixtures("no_broker")
def test_broker_away_makes_unknown_values_null_in_json() -> None:
    ran = run("status", "--json")

    assert (ran.code, ran.err) == (3, "")
    assert (ran.json["gpus"][0]["state"], ran.json["gpus"][0]["heartbeat_age_s"]) == (None, None)
    assert ran.json["queues"]["low"] == {"waiting": 0, "oldest_s": None, "in_redis": None}
    assert ran.json["broker_error"]


def test_once_prints_once_on_a_terminal_too(redis: Redis) -> None:
    ran = run("status", "--once", terminal=True)

    assert ran.code == 0
    assert "\x1b[?1049h" not in ran.out


def test_live_view_follows_until_ctrl_c_and_leaves_the_last_look(redis: Redis, live: Any) -> None:
    live(lambda: submit(5), press_ctrl_c)

    ran = run("status", terminal=True)

    screen, _, left = ran.out.partition("\x1b[?1049l")
    assert (ran.code, ran.err) == (0, "")
    assert "0 submitted" in screen
    assert "5 submitted" in screen
    assert "5 submitted" in left


def test_live_view_outlasts_a_database_that_is_away(redis: Redis, live: Any) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("the server is gone")

    outage = connection.execute_wrapper(away)
    live(outage.__enter__, lambda: outage.__exit__(None, None, None), press_ctrl_c)

    ran = run("status", terminal=True)

    screen, _, left = ran.out.partition("\x1b[?1049l")
    assert ran.code == 0
    assert "the database is unavailable: the server is gone" in screen
    assert "0 submitted" in left


def test_name_of_a_job_cannot_act_on_the_terminal(redis: Redis) -> None:
    job = running(gpu=0)
    type(job).objects.filter(id=job.id).update(name="\x1b[2J[red]evil[/]")
    lifecycle.cancel(job.id, actor="a test")

    out = run("status").out

    assert r"\x1b[2J[red]evil[/]" in out
    assert "\x1b[2J" not in out
