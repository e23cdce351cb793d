"""The list of jobs and the page of one job on a running cluster, as a visitor and as staff see them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.with_cluster.cluster import Cluster

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
#: Milliseconds; the list polls every two seconds, the stream of a job twice a second.
SOON_MS = 10_000
#: Until a job whose process is killed three times has failed, with its back-offs.
EXHAUSTED_SECONDS = 90

Job = dict[str, Any]


@pytest.fixture(scope="module")
def quiet_cluster(running_cluster: Cluster) -> Cluster:
    """A cluster with the jobs of these tests only."""
    running_cluster.settle()
    return running_cluster


@pytest.fixture
def ended_job(quiet_cluster: Cluster) -> Job:
    """The newest job: tests in any order find it on the first page of the list and on the live page."""
    job_id = quiet_cluster.api.submit_one(params={"seconds": 0.1})
    return quiet_cluster.api.wait_for_job(job_id)


@pytest.fixture(scope="module")
def exhausted_job(quiet_cluster: Cluster) -> Job:
    """A job that killed its job process at each attempt."""
    job_id = quiet_cluster.api.submit_one("fault_injection", params={"mode": "kill"}, max_failures=2, name="a-poison")
    return quiet_cluster.api.wait_for_job(job_id, "failed", seconds=EXHAUSTED_SECONDS)


@pytest.fixture
def running_job(quiet_cluster: Cluster) -> Iterator[Job]:
    job_id = quiet_cluster.api.submit_one(params={"seconds": 120})
    yield quiet_cluster.api.wait_for_job(job_id, "running")
    quiet_cluster.api.cancel(job_id)


@pytest.fixture(params=["list", "job"])
def address(request: pytest.FixtureRequest, exhausted_job: Job) -> str:
    return "/jobs" if request.param == "list" else f"/jobs/{exhausted_job['id']}"


def open_page(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#jobs tr, #steps li").first).to_be_visible()


# --- both pages -----------------------------------------------------------------------------------


def test_page_logs_no_error_and_asks_no_other_host(page: Page, address: str, quiet_cluster: Cluster) -> None:
    errors: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))

    open_page(page, address)

    assert errors == []
    assert hosts == {urlsplit(quiet_cluster.url).netloc}


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_has_no_accessibility_finding_and_never_scrolls_sideways(
    page: Page, address: str, size: Any, scheme: Any
) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    open_page(page, address)

    findings = Axe().run(page).response["violations"]

    assert [(finding["id"], [node["target"] for node in finding["nodes"]]) for finding in findings] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_navigation_leads_to_the_list(cluster_page: Page, ended_job: Job) -> None:
    cluster_page.get_by_role("navigation").get_by_role("link", name="Jobs").click()

    expect(cluster_page).to_have_url(re.compile(r"/jobs$"))
    expect(cluster_page.get_by_role("link", name="Jobs")).to_have_attribute("aria-current", "page")


def test_name_on_the_live_page_leads_to_the_job(cluster_page: Page, ended_job: Job) -> None:
    cluster_page.locator("#finished").get_by_role("link", name=ended_job["name"]).click()

    expect(cluster_page).to_have_url(re.compile(f"/jobs/{ended_job['id']}$"))
    expect(cluster_page.locator("#job-name")).to_have_text(ended_job["name"])


# --- the list -------------------------------------------------------------------------------------


def test_filter_stands_in_the_address_and_survives_reload_and_back(
    page: Page, ended_job: Job, exhausted_job: Job
) -> None:
    open_page(page, "/jobs")

    page.get_by_label("State").select_option("failed")

    expect(page).to_have_url(re.compile(r"/jobs\?state=failed$"))
    expect(page.get_by_role("link", name=ended_job["name"])).to_have_count(0)
    expect(page.get_by_role("link", name="a-poison")).to_be_visible()
    page.reload()
    expect(page.get_by_label("State")).to_have_value("failed")
    expect(page.get_by_role("link", name="a-poison")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("State")).to_have_value("")
    expect(page.get_by_role("link", name=ended_job["name"])).to_be_visible()


def test_time_is_chosen_in_the_readers_zone_and_asked_for_in_utc(page: Page, ended_job: Job) -> None:
    open_page(page, "/jobs")

    page.get_by_label("Submitted since").fill("2099-01-31T12:00")

    expect(page).to_have_url(re.compile(r"since=2099-01-3\dT\d\d%3A\d\d%3A00.000Z"))
    expect(page.locator("#jobs-empty")).to_have_text("No job matches these filters.")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("link", name=ended_job["name"])).to_be_visible()


def test_number_leads_to_the_job_and_a_name_filters(page: Page, ended_job: Job) -> None:
    open_page(page, "/jobs")
    find = page.get_by_label("Number or full name")

    find.fill(ended_job["name"])
    find.press("Enter")
    expect(page.locator("#jobs tr")).to_have_count(1)
    find.fill(str(ended_job["id"]))
    find.press("Enter")

    expect(page.locator("#job-name")).to_have_text(ended_job["name"])


def test_wrong_filter_in_the_address_is_said(page: Page) -> None:
    page.goto("/jobs?state=gone")

    expect(page.locator("#jobs-error")).to_contain_text("state: must be one of queued, running")


def test_pages_go_on_where_the_last_one_ended(page: Page, quiet_cluster: Cluster) -> None:
    ids = quiet_cluster.api.submit(count=60, name="many")
    open_page(page, "/jobs")
    expect(page.locator("#jobs tr")).to_have_count(50)

    page.get_by_role("link", name="Older").click()

    expect(page.get_by_role("link", name="many-1", exact=True)).to_be_visible()
    page.get_by_role("link", name="Newest").click()
    expect(page.locator("#jobs tr").first).to_contain_text(str(ids[-1]))
    quiet_cluster.api.wait_for_jobs(ids, seconds=60)


def test_list_follows_the_states(page: Page, running_job: Job, quiet_cluster: Cluster) -> None:
    open_page(page, "/jobs")
    row = page.get_by_role("row").filter(has_text=running_job["name"])
    expect(row).to_contain_text("running")

    quiet_cluster.api.cancel(running_job["id"])

    expect(row).to_contain_text("cancelled", timeout=SOON_MS)


def test_list_says_when_the_server_does_not_answer_and_goes_on_when_it_does(page: Page, ended_job: Job) -> None:
    open_page(page, "/jobs")

    page.route("**/api/jobs?**", lambda route: route.abort())
    expect(page.locator("#jobs-error")).to_have_text("The server is unreachable.", timeout=SOON_MS)
    expect(page.locator("#connection-state")).to_have_text("No response")

    page.unroute("**/api/jobs?**")
    expect(page.locator("#connection-state")).to_have_text("Live", timeout=SOON_MS)
    expect(page.locator("#jobs-error")).to_be_empty()


# --- one job --------------------------------------------------------------------------------------


def test_job_tells_its_story_its_attempts_and_its_error(page: Page, exhausted_job: Job) -> None:
    open_page(page, f"/jobs/{exhausted_job['id']}")

    expect(page.locator("#job-state")).to_have_text("failed: exhausted")
    expect(page.locator("#steps li")).to_have_count(len(exhausted_job["events"]))
    expect(page.locator("#attempts tr")).to_have_count(2)
    expect(page.locator("#attempts")).to_contain_text("requeued: child died")
    expect(page.locator("#error")).to_have_text(exhausted_job["error"])
    expect(page.get_by_role("img", name=re.compile(r"waited .*; ran .* on GPU \d, requeued"))).to_be_visible()
    expect(page.locator("#params")).to_contain_text("mode")


def test_why_a_job_waits_is_readable_as_a_whole_and_stays_true(page: Page, quiet_cluster: Cluster) -> None:
    gpus = [gpu["index"] for gpu in quiet_cluster.api.http.get("/api/gpus").json()["gpus"]]
    quiet_cluster.steer_to()
    job_id = quiet_cluster.api.submit_one(params={"seconds": 120})
    try:
        page.set_viewport_size(DESKTOP)
        open_page(page, f"/jobs/{job_id}")
        sentence = page.locator("#facts .sentence dd")
        expect(sentence).to_contain_text("takes jobs now", timeout=SOON_MS)
        expect(sentence).to_contain_text("drained by an operator")
        assert sentence.evaluate("node => node.scrollWidth <= node.clientWidth")

        quiet_cluster.api.submit(count=2, priority="critical", params={"seconds": 120})
        quiet_cluster.steer_to(gpus[0])

        expect(sentence).to_contain_text(re.compile("behind|next in line"), timeout=SOON_MS)
    finally:
        quiet_cluster.steer_to(*gpus)
        quiet_cluster.settle()


def test_result_and_parameters_are_shown(page: Page, ended_job: Job) -> None:
    open_page(page, f"/jobs/{ended_job['id']}")

    expect(page.locator("#outcome-empty")).to_be_hidden()
    for name in ended_job["result"]:
        expect(page.locator("#result").get_by_text(name, exact=True)).to_be_visible()
    expect(page.locator("#connection-state")).to_have_text("Ended")


def test_visitor_has_no_buttons_and_gets_no_cookie(page: Page, running_job: Job) -> None:
    open_page(page, f"/jobs/{running_job['id']}")

    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.get_by_role("button", name="Run again")).to_have_count(0)
    assert page.context.cookies() == []


def test_staff_cancels_a_running_job_and_sees_it_end(staff_page: Page, running_job: Job) -> None:
    open_page(staff_page, f"/jobs/{running_job['id']}")
    expect(staff_page.locator("#progress")).to_be_visible(timeout=SOON_MS)

    staff_page.get_by_role("button", name="Cancel").click()

    expect(staff_page.locator("#job-state")).to_have_text("cancelled", timeout=SOON_MS)
    expect(staff_page.locator("#steps")).to_contain_text("cancel requested")
    expect(staff_page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_staff_runs_a_job_again(staff_page: Page, ended_job: Job) -> None:
    open_page(staff_page, f"/jobs/{ended_job['id']}")

    staff_page.get_by_role("button", name="Run again").click()
    staff_page.get_by_role("link", name=re.compile(r"^job \d+$")).click()

    expect(staff_page.locator("#job-name")).not_to_have_text(ended_job["name"])
    expect(staff_page.locator("#params")).to_contain_text("seconds")
    expect(staff_page.locator("#job-state")).to_have_text("succeeded", timeout=SOON_MS)


def test_refusal_is_said_on_the_page(staff_page: Page, running_job: Job, quiet_cluster: Cluster) -> None:
    open_page(staff_page, f"/jobs/{running_job['id']}")
    problem = {"title": "Conflict", "status": 409, "detail": "Job 1 has already ended.", "errors": []}
    staff_page.route("**/cancel", lambda route: route.fulfill(status=409, json=problem))

    staff_page.get_by_role("button", name="Cancel").click()

    expect(staff_page.locator("#job-error")).to_have_text("Job 1 has already ended.")


def test_page_says_that_its_data_is_old_and_comes_back(page: Page, running_job: Job) -> None:
    page.route("**/events", lambda route: route.abort())
    page.goto(f"/jobs/{running_job['id']}")
    expect(page.locator("#banner-text")).to_contain_text("The server does not answer.", timeout=SOON_MS)

    page.unroute("**/events")

    expect(page.locator("#connection-state")).to_have_text("Live", timeout=2 * SOON_MS)
    expect(page.locator("#banner-text")).to_be_empty()


def test_what_a_job_says_is_shown_as_text(page: Page, ended_job: Job) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\">"
    told = {**ended_job, "error": evil, "result": {evil: evil}, "params": {evil: evil}, "reason": evil, "type": evil}
    told["events"] = [{**ended_job["events"][0], "detail": evil, "reason": evil}, *ended_job["events"][1:]]
    body = f"event: job\ndata: {json.dumps(told)}\n\n"
    page.route("**/events", lambda route: route.fulfill(body=body, content_type="text/event-stream"))

    open_page(page, f"/jobs/{ended_job['id']}")

    expect(page.locator("#error")).to_have_text(evil)
    expect(page.locator("#result dd")).to_have_text(evil)
    expect(page.locator("#params dt")).to_have_text(evil)
    expect(page.locator("#steps li").first).to_contain_text(evil)
    expect(page.locator("main img")).to_have_count(0)


def test_unknown_job_is_a_page_in_our_look(page: Page) -> None:
    answer = page.goto("/jobs/999999999999")

    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("Not found")).to_be_visible()
