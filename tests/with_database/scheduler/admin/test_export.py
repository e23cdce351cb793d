"""The export: all jobs that match the filters of the list, as a stream without formulas for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

from scheduler.admin import export
from scheduler.jobs import lifecycle
from scheduler.models import Job
from scheduler.rules.states import JobState, Reason
from tests.build import ended, queued, running, submit

EXPORT = "/admin/scheduler/job/export"

pytestmark = pytest.mark.usefixtures("control", "gpus")


def rows(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode())))


def objects(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.getvalue().decode().splitlines()]


def test_csv_has_every_job_the_newest_first(admin_client: Client) -> None:
    jobs = submit(3)

    answer = admin_client.get(f"{EXPORT}.csv")

    assert [row["name"] for row in rows(answer)] == [job.name for job in jobs[::-1]]
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="jobs-2')


def test_json_lines_keep_types_and_structure(admin_client: Client) -> None:
    job = ended(JobState.SUCCEEDED, params={"seconds": 2})

    (found,) = objects(admin_client.get(f"{EXPORT}.jsonl"))

    assert (found["id"], found["gpu"], found["params"]["seconds"]) == (job.id, 0, 2)
    assert found["finished_at"] == job.finished_at.isoformat()


@pytest.mark.parametrize("query", ["state__exact=failed", "gpu=1", "q=needle", "reason__exact=timed_out"])
def test_the_lists_filters_and_search_hold(admin_client: Client, query: str) -> None:
    wanted = running(gpu=1, name="needle")
    lifecycle.end(wanted.id, 1, JobState.FAILED, reason=Reason.TIMED_OUT)
    queued()

    assert [row["name"] for row in rows(admin_client.get(f"{EXPORT}.csv?{query}"))] == ["needle"]


def test_the_lists_length_is_no_limit(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.admin.lists.ROWS_MAXIMUM", 2)
    monkeypatch.setattr(export, "PAGE", 2)
    jobs = submit(5)

    found = [int(row["id"]) for row in rows(admin_client.get(f"{EXPORT}.csv"))]

    assert found == [job.id for job in jobs[::-1]]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
def test_a_cell_that_would_be_a_formula_is_text(admin_client: Client, start: str) -> None:
    job = running()
    error = f"{start}cmd|' /C calc'!A0"
    lifecycle.end(job.id, 1, JobState.FAILED, reason=Reason.JOB_ERROR, error=error)

    (row,) = csv.DictReader(io.StringIO(admin_client.get(f"{EXPORT}.csv").getvalue().decode(), newline=""))

    assert row["error"] == f"'{error}"


def test_json_lines_are_left_as_they_are(admin_client: Client) -> None:
    job = running()
    lifecycle.end(job.id, 1, JobState.FAILED, reason=Reason.JOB_ERROR, error="=1+1")

    assert objects(admin_client.get(f"{EXPORT}.jsonl"))[0]["error"] == "=1+1"


def test_a_page_is_read_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    submit(6)

    with CaptureQueriesContext(connection) as queries:
        pages = export.json_pages(Job.objects.all())
        next(pages)

    assert len(queries) == 1


def test_jobs_that_come_meanwhile_repeat_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    jobs = submit(4)
    pages = export.json_pages(Job.objects.all())

    text = next(pages)
    submit(3)
    text += "".join(pages)

    assert [json.loads(line)["id"] for line in text.splitlines()] == [job.id for job in jobs[::-1]]


def test_under_asgi_it_streams_page_by_page(monkeypatch: pytest.MonkeyPatch, admin_user: Any) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    submit(5)
    client = AsyncClient()
    client.force_login(admin_user)

    async def chunks() -> list[bytes]:
        answer = await client.get(f"{EXPORT}.jsonl")
        return [chunk async for chunk in answer.streaming_content]

    # Django warns if it has to read the whole stream first, and warnings are errors here.
    assert [chunk.count(b"\n") for chunk in async_to_sync(chunks)()] == [2, 2, 1]


def test_who_may_not_see_jobs_exports_none(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("vera", is_staff=True))

    assert client.get(f"{EXPORT}.csv").status_code == 403


def test_a_visitor_is_asked_to_sign_in(client: Client) -> None:
    assert client.get(f"{EXPORT}.csv")["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(("path", "status"), [(".xlsx", 404), (".csv?state__exact__x=1", 400)])
def test_what_there_is_not_is_refused(admin_client: Client, path: str, status: int) -> None:
    assert admin_client.get(f"{EXPORT}{path}").status_code == status


def test_the_list_links_to_exports_of_what_it_shows(admin_client: Client) -> None:
    page = admin_client.get("/admin/scheduler/job/?state__exact=failed").content.decode()

    assert f'href="{EXPORT}.csv?state__exact=failed"' in page
    assert f'href="{EXPORT}.jsonl?state__exact=failed"' in page
