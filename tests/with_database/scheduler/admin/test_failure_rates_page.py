"""The failure rates page: the window, and the rates of each GPU, type, priority and reason."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from redis import Redis

from cluster_dashboard.live.reader import Reader
from cluster_dashboard.metrics.view import Scraper
from scheduler.jobs import lifecycle, rollup
from scheduler.jobs.clock import database_now
from scheduler.rules.states import JobState, Reason, Source
from tests.build import ended, running, submit

PAGE = "/admin/scheduler/rollup/"

pytestmark = pytest.mark.usefixtures("control", "gpus")


def counted(n: int, *, hours_ago: float = 0, **fields: Any) -> None:
    values = {"gpu": 0, "type": "sleep", "priority": "low", "outcome": "succeeded", "reason": "", **fields}
    hour = (database_now() - timedelta(hours=hours_ago)).replace(minute=0, second=0, microsecond=0)
    keys = ("gpu", "type", "priority", "outcome", "reason")
    rollup.add_many([(hour, *(values[key] for key in keys), n, values.get("at_risk", 0), values.get("expected", 0.0))])


def failed(n: int, **fields: Any) -> None:
    counted(n, **{"outcome": "failed", "reason": "job_error", **fields})


def text(page: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.content.decode()))


@pytest.mark.parametrize(("window", "ended"), [("hour", 1), ("day", 11), ("week", 111), ("all", 1111)])
def test_a_window_counts_what_ended_in_it(admin_client: Client, window: str, ended: int) -> None:
    counted(1)
    counted(10, hours_ago=20)
    counted(100, hours_ago=6 * 24)
    counted(1000, hours_ago=40 * 24)

    assert admin_client.get(f"{PAGE}?window={window}").context["total"].finished == ended


@pytest.mark.parametrize("query", ["", "?window=century", "?window=", "?window=%00"])
def test_without_a_known_window_it_is_the_last_day(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"{PAGE}{query}").context["window"].name == "day"


def test_what_the_jobs_did_is_what_it_says(admin_client: Client) -> None:
    ended(JobState.SUCCEEDED, gpu=0, source=Source.GENERATOR)
    job = running(gpu=1, type="matrix", params={}, priority="critical", source=Source.GENERATOR)
    lifecycle.end(job.id, 1, JobState.FAILED, reason=Reason.OUT_OF_MEMORY)

    page = admin_client.get(PAGE)

    said = text(page)
    assert "50 % of 2 attempts failed" in said
    assert re.search(r"GPU 1 1 1 100 % 20\.7 % to 100 % 100 % 5 % more than expected", said)
    assert re.search(r"matrix 1 1 100 %", said)
    assert re.search(r"critical 1 1 100 %", said)
    assert re.search(r"out of memory 1 50 %", said)


def test_every_gpu_is_shown_the_idle_one_too(admin_client: Client) -> None:
    failed(3, gpu=9)

    assert [label for label, _ in admin_client.get(PAGE).context["gpus"]] == ["GPU 0", "GPU 1", "GPU 2", "GPU 9"]


def test_an_empty_window_says_so(admin_client: Client) -> None:
    page = admin_client.get(f"{PAGE}?window=hour")

    assert "No attempt has finished since" in text(page)
    assert page.content.count(b'<svg class="plot"') == 4


def test_plots_have_titles_and_descriptions(admin_client: Client) -> None:
    counted(19)
    failed(1)

    page = admin_client.get(PAGE).content.decode()

    plots = re.findall(r'<svg class="plot".*?</svg>', page, re.DOTALL)
    assert len(plots) == 5
    for plot in plots:
        assert re.search(r"<title id=[^>]+>[^<]+</title><desc id=[^>]+>[^<]+</desc>", plot)


def test_the_plot_over_time_has_a_step_for_each_hour(admin_client: Client) -> None:
    counted(5, hours_ago=3)
    counted(5, hours_ago=1)

    points = admin_client.get(PAGE).context["points"]

    assert [(point.share.rate) for point in points] == [0.0, 0.0]
    assert points[1].at - points[0].at == timedelta(hours=2)


def test_a_type_with_an_odd_name_is_escaped(admin_client: Client) -> None:
    failed(1, type="<b>odd</b>")

    page = admin_client.get(PAGE).content.decode()

    assert "<b>odd</b>" not in page
    assert page.count("&lt;b&gt;odd&lt;/b&gt;") >= 2


def test_it_asks_the_database_little(admin_client: Client) -> None:
    counted(10)

    with CaptureQueriesContext(connection) as queries:
        admin_client.get(PAGE)

    assert sum("scheduler_" in query["sql"] for query in queries) <= 3


def test_who_may_not_see_it_does_not(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("vera", is_staff=True))

    assert client.get(PAGE).status_code == 403


def test_it_has_a_short_address(admin_client: Client) -> None:
    assert admin_client.get("/admin/failure-rates/?window=week")["Location"] == f"{PAGE}?window=week"


def test_the_admin_and_the_metrics_have_the_share_of_the_live_page(admin_client: Client, redis: Redis) -> None:
    """One definition: cancelled jobs count on no face."""
    ended(JobState.SUCCEEDED)
    ended(JobState.SUCCEEDED, gpu=1)
    ended(JobState.SUCCEEDED, gpu=2)
    ended(JobState.FAILED)
    for job in submit(10):
        lifecycle.cancel(job.id, actor="a test")
    ended(JobState.CANCELLED)

    admin = admin_client.get(f"{PAGE}?window=all").context["total"].failure.rate
    live = json.loads(Reader(redis).snapshot())["kpi"]["failed_percent"] / 100
    metrics = Scraper(redis).text().decode()

    assert admin == live == 0.25
    assert "gpu_cluster_attempts_failed_ratio 0.25" in metrics
