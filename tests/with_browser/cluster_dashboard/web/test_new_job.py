"""The form that submits jobs: fields from each type's parameters, the API's errors beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.project import ROOT
from tests.with_cluster.cluster import Cluster

TYPES = ROOT / "tests" / "sample_job_types"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def running_cluster(browser: Browser) -> Iterator[Cluster]:
    """A cluster with the job type of the README, and one with a parameter of each kind."""
    own = {"JOB_TYPES_EXTRA": "countdown:Countdown,kinds:Kinds", "PYTHONPATH": str(TYPES)}
    with Cluster(gpus=1, environment=own) as cluster:
        yield cluster


@pytest.fixture
def form(staff_page: Page) -> Page:
    staff_page.goto("/jobs/new")
    expect(staff_page.get_by_role("button", name="Submit", exact=True)).to_be_enabled()
    return staff_page


def field(form: Page, name: str) -> Any:
    return form.locator(f'[data-field="{name}"]')


def send(form: Page) -> None:
    form.get_by_role("button", name="Submit", exact=True).click()


def test_the_lists_lead_to_the_form(staff_page: Page) -> None:
    for address in ("/", "/jobs", "/admin/scheduler/job/"):
        staff_page.goto(address)
        staff_page.get_by_role("link", name="Submit jobs").click()
        expect(staff_page).to_have_url(re.compile("/jobs/new$"))


def test_a_visitor_finds_no_link_and_is_asked_to_sign_in(page: Page) -> None:
    page.goto("/jobs")
    expect(page.get_by_role("link", name="Submit jobs")).to_have_count(0)

    page.goto("/jobs/new?type=kinds")

    expect(page).to_have_url(re.compile(r"/login\?next=/jobs/new%3Ftype%3Dkinds$"))


def test_the_type_of_the_readme_appears_by_itself_and_runs(form: Page, running_cluster: Cluster) -> None:
    form.get_by_label("Type").select_option("countdown")
    expect(field(form, "params.steps").get_by_text("How far it counts · 1 or more")).to_be_visible()
    form.get_by_label("steps").fill("3")
    form.get_by_label("Priority").select_option("high")
    form.get_by_label("Name", exact=True).fill("a-countdown")

    send(form)

    expect(form).to_have_url(re.compile(r"/jobs/\d+$"))
    expect(form.locator("#job-name")).to_have_text("a-countdown")
    job = running_cluster.api.wait_for_job(int(form.url.rpartition("/")[2]))
    assert (job["state"], job["result"], job["priority"]) == ("succeeded", {"counted": 3}, "high")


def test_each_kind_of_parameter_has_its_field_and_arrives(form: Page, running_cluster: Cluster) -> None:
    form.get_by_label("Type").select_option("kinds")
    expect(form.get_by_label("share")).to_have_value("0.5")
    expect(form.get_by_label("steps")).to_have_value("")
    form.get_by_label("share").fill("0")
    send(form)
    expect(field(form, "params.share").locator(".error")).to_have_text("must be a number above 0 and at most 1")
    form.get_by_label("share").fill("0.25")
    form.get_by_label("colour").select_option("red")
    form.get_by_label("loud").check()
    form.get_by_label("title").fill("2")
    form.get_by_label("layers").fill("[3, 4]")

    send(form)

    expect(form).to_have_url(re.compile(r"/jobs/\d+$"))
    job = running_cluster.api.wait_for_job(int(form.url.rpartition("/")[2]))
    expected = {"share": 0.25, "steps": None, "colour": "red", "loud": True, "title": "2", "layers": [3, 4]}
    assert job["params"] == expected


def test_errors_of_the_api_stand_beside_their_fields(form: Page) -> None:
    form.get_by_label("Type").select_option("sleep")
    form.get_by_label("seconds").fill("soon")
    form.get_by_label("load").fill("1.5")

    send(form)

    expect(field(form, "params.seconds").locator(".error")).to_have_text("must be a number from 0 to 86400")
    expect(field(form, "params.load").locator(".error")).to_have_text("must be a number from 0 to 1")
    expect(form.get_by_label("seconds")).to_be_focused()
    expect(form.get_by_label("seconds")).to_have_attribute("aria-invalid", "true")
    form.get_by_label("seconds").fill("0")
    form.get_by_label("load").fill("1")
    form.get_by_label("Number of jobs").fill("0")
    send(form)
    expect(field(form, "count").locator(".error")).to_have_text("must be a whole number from 1 to 10000")
    expect(field(form, "params.load").locator(".error")).to_have_text("")


def test_text_that_is_no_json_is_said_before_anything_is_sent(form: Page) -> None:
    asked: list[str] = []
    form.on("request", lambda request: asked.append(request.method))
    form.get_by_label("Type").select_option("kinds")
    form.get_by_label("layers").fill("[1,")

    send(form)

    expect(field(form, "params.layers").locator(".error")).to_contain_text("is not valid JSON")
    assert "POST" not in asked


def test_several_jobs_lead_to_the_list_and_a_taken_name_is_said_at_the_name(form: Page) -> None:
    def submit_twins() -> None:
        form.goto("/jobs/new?type=countdown")
        form.get_by_label("Number of jobs").fill("2")
        form.get_by_label("Name", exact=True).fill("twins")
        send(form)

    submit_twins()
    expect(form).to_have_url(re.compile("/jobs$"))
    expect(form.locator("#jobs")).to_contain_text("twins-2")
    submit_twins()
    expect(field(form, "name").locator(".error")).to_have_text(re.compile("'twins-[12]' is taken"))


def test_run_again_with_changes(form: Page, running_cluster: Cluster) -> None:
    job_id = running_cluster.api.submit_one("sleep", params={"seconds": 0.25}, max_failures=2)
    form.goto(f"/jobs/{job_id}")

    form.get_by_role("link", name="Change and run again").click()

    expect(form.get_by_label("seconds")).to_have_value("0.25")
    expect(form.get_by_label("Maximum failures")).to_have_value("2")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES)
def test_form_has_no_finding_and_no_console_error(form: Page, size: str, scheme: Any) -> None:
    errors: list[str] = []
    form.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    form.on("pageerror", lambda error: errors.append(str(error)))
    width, height = SIZES[size]
    form.set_viewport_size({"width": width, "height": height})
    form.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    form.goto("/jobs/new?type=kinds")
    form.get_by_label("layers").fill("[1,")
    send(form)
    expect(field(form, "params.layers").locator(".error")).to_be_visible()

    findings = Axe().run(form).response["violations"]

    assert [(finding["id"], [node["target"] for node in finding["nodes"]]) for finding in findings] == []
    assert form.evaluate("document.documentElement.scrollWidth") <= width
    assert errors == []
