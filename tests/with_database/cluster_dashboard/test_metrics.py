"""/metrics: format, numbers, unknown values, permissions, and the response while a service is unavailable."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F
from django.test import Client
from django.urls import reverse
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from cluster_dashboard.metrics import numbers, view
from cluster_dashboard.metrics.collector import ClusterCollector
from cluster_dashboard.metrics.view import Scraper
from cluster_dashboard.tokens import create_token
from scheduler.broker import dead_letters
from scheduler.jobs import clock, lifecycle
from scheduler.models import Gpu, Rollup
from scheduler.rules.outcomes import known_ends
from scheduler.rules.states import JobState, Reason
from tests.build import ended, make_due, running, submit
from tests.project import ROOT
from tests.with_database.cluster_dashboard.live.test_live import beat_and_sample

pytestmark = pytest.mark.usefixtures("gpus", "control")

DOCUMENT = ROOT / "docs" / "metrics.md"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def scrape(redis: Redis) -> Samples:
    return parsed(Scraper(redis).text().decode())


@pytest.fixture
def fresh_scraper(monkeypatch: pytest.MonkeyPatch, redis: Redis) -> None:
    scraper = Scraper(redis)
    monkeypatch.setattr(view, "scraper", lambda: scraper)


@pytest.fixture
def private(settings: Any) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_read": False})


# --- numbers --------------------------------------------------------------------------------------


def test_every_family_has_a_type_a_help_and_no_sample_twice(redis: Redis) -> None:
    beat_and_sample(redis)
    families = list(text_string_to_metric_families(Scraper(redis).text().decode()))

    assert all(family.documentation and family.type in {"gauge", "counter"} for family in families)
    keys = [(each.name, *sorted(each.labels.items())) for family in families for each in family.samples]
    assert len(keys) == len(set(keys)) > 80
    # Two families of one name would be refused by Prometheus.
    assert len({family.name for family in families}) == len(families)


def test_every_name_is_documented_and_every_documented_name_is_there(redis: Redis) -> None:
    beat_and_sample(redis)
    Gpu.objects.update(power_limit_w=700.0, booted_at=clock.database_now())
    submit()
    names = {name for name, _ in scrape(redis) if not name.startswith(("process_", "python_"))}
    words = DOCUMENT.read_text().split("`")
    documented = {word.split("{")[0] for word in words if word.startswith(("gpu_cluster_", "DCGM_FI_"))}

    # Absent here, since no loop has run and no attempt has ended; nothing measures the activity of tensor cores.
    assert documented - names == {
        "gpu_cluster_loop_lease_seconds",
        "gpu_cluster_attempts_failed_ratio",
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    }
    assert names - documented == set()


def test_jobs_are_counted_by_state_and_priority(redis: Redis) -> None:
    submit(3, priority="low")
    running(priority="high")
    ended(JobState.SUCCEEDED, gpu=1)

    found = scrape(redis)

    assert value(found, "gpu_cluster_jobs", state="queued", priority="low") == 3
    assert value(found, "gpu_cluster_jobs", state="running", priority="high") == 1
    assert value(found, "gpu_cluster_jobs", state="succeeded", priority="normal") == 1
    assert value(found, "gpu_cluster_jobs_submitted_total", priority="low") == 3
    assert value(found, "gpu_cluster_job_starts_total", priority="high") == 1
    assert value(found, "gpu_cluster_queue_waiting_jobs", priority="low") == 3
    assert value(found, "gpu_cluster_queue_oldest_seconds", priority="low") is not None
    assert value(found, "gpu_cluster_queue_oldest_seconds", priority="critical") is None
    assert value(found, "gpu_cluster_attempts_ended_total", outcome="succeeded", reason="") == 1


def test_requeues_are_distinguished_by_their_charge(redis: Redis) -> None:
    died = running(gpu=0)
    lifecycle.requeue(died.id, died.attempt, Reason.WORKER_DIED)
    make_due(died)
    shut_down = running(gpu=1)
    lifecycle.requeue(shut_down.id, shut_down.attempt, Reason.SHUTDOWN)
    running(gpu=2)
    ended(JobState.CANCELLED, gpu=1)
    waiting = submit()[0]
    lifecycle.cancel(waiting.id, actor="cli (a test)")

    found = scrape(redis)

    assert value(found, "gpu_cluster_requeues_total", charged="true") == 1
    assert value(found, "gpu_cluster_requeues_total", charged="false") == 1
    assert value(found, "gpu_cluster_attempts_ended_total", outcome="requeued", reason="worker_died") == 1
    assert value(found, "gpu_cluster_attempts_ended_total", outcome="cancelled", reason="cancel") == 2


def test_every_count_begins_at_zero(redis: Redis) -> None:
    """increase() and rate() do not see the first event of a series that begins with it."""
    found = scrape(redis)

    counts = {key: n for key, n in found.items() if key[0].startswith("gpu_cluster_") and key[0].endswith("_total")}
    assert set(counts.values()) == {0}
    ends = {(dict(labels)["outcome"], dict(labels)["reason"]) for name, labels in counts if "attempts_ended" in name}
    assert ends == {(str(outcome), str(reason)) for outcome, reason in known_ends()}
    assert {reason for _, reason in ends} == {"", *Reason}


def test_a_refused_result_is_counted(redis: Redis) -> None:
    job = running()
    lifecycle.requeue(job.id, job.attempt, Reason.WORKER_DIED)
    assert not lifecycle.end(job.id, job.attempt, JobState.SUCCEEDED)

    assert value(scrape(redis), "gpu_cluster_commits_refused_total") == 1


def test_attempts_of_hours_that_are_over_are_added_once(redis: Redis) -> None:
    ended(JobState.SUCCEEDED, gpu=1)

    Rollup.objects.update(hour=F("hour") - timedelta(hours=30))
    ended(JobState.SUCCEEDED, gpu=1)
    scraper = Scraper(redis)

    for _ in range(2):
        scraper._read_at = float("-inf")
        found = parsed(scraper.text().decode())
        assert value(found, "gpu_cluster_attempts_ended_total", outcome="succeeded", reason="") == 2
        assert value(found, "gpu_cluster_requeues_total", charged="false") == 0


def test_a_gpu_under_our_names_and_under_those_of_dcgm(redis: Redis) -> None:
    Gpu.objects.filter(index=1).update(uuid="GPU-1", name="H100", host="here", failure_rate=0.25)
    running(gpu=1)
    beat_and_sample(redis, gpu=1)

    found = scrape(redis)

    assert value(found, "gpu_cluster_gpu_utilization_ratio", gpu="1") == pytest.approx(0.9)
    assert value(found, "gpu_cluster_gpu_memory_used_bytes", gpu="1") == 1000 * 2**20
    assert value(found, "gpu_cluster_gpu_failure_rate", gpu="1") == 0.25
    assert value(found, "gpu_cluster_gpu_state", gpu="1", state="busy") == 1
    assert value(found, "gpu_cluster_gpu_state", gpu="1", state="idle") == 0
    labels = {"gpu": "1", "UUID": "GPU-1", "device": "nvidia1", "modelName": "H100", "Hostname": "here"}
    assert value(found, "DCGM_FI_DEV_GPU_UTIL", **labels) == 90
    assert value(found, "DCGM_FI_DEV_FB_USED", **labels) == 1000
    assert value(found, "DCGM_FI_DEV_FB_FREE", **labels) == 80559
    assert value(found, "DCGM_FI_DEV_GPU_TEMP", **labels) == 60
    assert value(found, "DCGM_FI_DEV_POWER_USAGE", **labels) == 500
    assert value(found, "DCGM_FI_DEV_SM_CLOCK", **labels) == 1755
    assert value(found, "gpu_cluster_gpu_sm_clock_hertz", gpu="1") == 1_755_000_000
    assert value(found, "DCGM_FI_DEV_XID_ERRORS", **labels) == 31


def test_what_is_not_known_of_a_gpu_is_absent_and_not_zero(redis: Redis) -> None:
    beat_and_sample(redis, gpu=0, temperature_c=None, power_w=None, sm_clock_mhz=None, last_xid=None)

    found = scrape(redis)

    assert value(found, "gpu_cluster_gpu_utilization_ratio", gpu="0") == pytest.approx(0.9)
    named = {(name, dict(labels).get("gpu")) for name, labels in found}
    absent = ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_XID_ERRORS")
    for name in ("gpu_cluster_gpu_temperature_celsius", *absent):
        assert (name, "0") not in named
    assert ("gpu_cluster_gpu_heartbeat_age_seconds", "1") not in named
    assert value(found, "gpu_cluster_gpu_state", gpu="1", state="offline") == 1


def test_dead_letters_are_counted(redis: Redis) -> None:
    dead_letters.bury(redis, b"not ours", "normal", "the message: not JSON")

    found = scrape(redis)

    assert value(found, "gpu_cluster_dead_letters_total") == 1
    assert value(found, "gpu_cluster_dead_letters_kept") == 1


# --- an unavailable service -----------------------------------------------------------------------


def test_without_the_broker_the_rest_is_there() -> None:
    nowhere = Redis.from_url("unix:///nowhere/broker.sock")
    submit(2)

    found = scrape(nowhere)

    assert value(found, "gpu_cluster_up", part="broker") == 0
    assert value(found, "gpu_cluster_up", part="database") == 1
    assert value(found, "gpu_cluster_jobs", state="queued", priority="normal") == 2
    assert value(found, "gpu_cluster_dead_letters_total") is None


def test_without_the_database_the_rest_is_there(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr(numbers, "database_now", unavailable)

    found = scrape(redis)

    assert value(found, "gpu_cluster_up", part="database") == 0
    assert value(found, "gpu_cluster_up", part="broker") == 1
    assert value(found, "gpu_cluster_dead_letters_total") == 0
    assert value(found, "gpu_cluster_jobs", state="queued", priority="normal") is None


def test_an_outage_is_logged_once_until_it_is_over(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    collector = ClusterCollector(Redis.from_url("unix:///nowhere/broker.sock"))

    for client in (collector.redis, collector.redis, redis, redis):
        collector.redis = client
        list(collector.collect())

    records = [each for each in caplog.records if each.name.startswith("cluster_dashboard.metrics")]
    events = [(each.msg, each.component) for each in records]
    assert events == [("broker_unreachable", "metrics"), ("broker_recovered", "metrics")]


# --- who may read ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_scraper")
def test_everybody_reads_where_reading_is_public(client: Client) -> None:
    answer = client.get("/metrics")

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert reverse("metrics") == "/metrics"
    assert value(parsed(answer.content.decode()), "gpu_cluster_up", part="database") == 1


@pytest.mark.usefixtures("fresh_scraper", "private")
def test_else_it_takes_a_token_or_a_member_of_staff(client: Client, admin_client: Client) -> None:
    _, secret = create_token("prometheus", ["read"], actor="cli (a test)")

    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer gct_wrong"}).status_code == 401
    assert client.get("/metrics", headers={"authorization": f"Bearer {secret}"}).status_code == 200
    assert admin_client.get("/metrics").status_code == 200


@pytest.mark.usefixtures("fresh_scraper", "private")
def test_an_account_without_the_permission_to_read_is_refused(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("visitor"))

    assert client.get("/metrics").status_code == 403
