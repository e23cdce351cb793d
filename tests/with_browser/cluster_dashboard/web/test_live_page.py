"""The live page of a running cluster, as a visitor and as staff see it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Response, expect

from tests.services import wait_until
from tests.with_browser.live_feed import LiveFeed, Message

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}

#: Milliseconds. The generator of a new cluster submits 12 jobs a minute.
FIRST_JOB_MS = 60_000
#: Stale after 3 s without a snapshot; reconnecting takes up to a few back-off steps.
STALE_MS, BACK_MS = 10_000, 20_000


@pytest.fixture
def state(cluster_page: Page) -> Locator:
    return cluster_page.locator("#connection-state")


def control_of(page: Page) -> dict[str, Any]:
    return page.request.get(urljoin(page.url, "/api/control")).json()


def test_page_logs_no_error_and_asks_no_other_host(cluster_page: Page) -> None:
    errors: list[str] = []
    hosts: set[str] = set()
    cluster_page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    cluster_page.on("pageerror", lambda error: errors.append(str(error)))
    cluster_page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    cluster_page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).netloc))

    cluster_page.reload()
    expect(cluster_page.locator("#lanes li").first).to_be_visible()

    assert errors == []
    assert hosts == {urlsplit(cluster_page.url).netloc}


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_has_no_accessibility_finding(cluster_page: Page, size: Any, scheme: Any) -> None:
    cluster_page.set_viewport_size(size)
    cluster_page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    expect(cluster_page.locator("#lanes li").first).to_be_visible()

    findings = Axe().run(cluster_page).response["violations"]

    assert [(finding["id"], [node["target"] for node in finding["nodes"]]) for finding in findings] == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_never_scrolls_sideways(cluster_page: Page, size: Any) -> None:
    cluster_page.set_viewport_size(size)
    expect(cluster_page.locator("#lanes li").first).to_be_visible()

    assert cluster_page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_every_gpu_has_a_lane_and_jobs_appear_on_them(cluster_page: Page) -> None:
    feed = LiveFeed(cluster_page)
    cluster_page.reload()
    expect(cluster_page.locator("#lanes li").first).to_be_visible()

    expect(cluster_page.locator("#lanes li")).to_have_count(len(feed.snapshots[-1]["gpus"]))
    lanes_with_jobs = cluster_page.get_by_role("img", name=re.compile(r"^GPU \d+: .*, [1-9]\d* jobs? in 5 minutes"))
    expect(lanes_with_jobs.first).to_be_visible(timeout=FIRST_JOB_MS)
    # An empty lane has few colours (background and utilisation line); a job adds its fill, edge and name, once it
    # has run long enough to be wider than a few pixels.
    wait_until(lambda: colors_of(lanes_with_jobs.first) > 20, 20, "a job is drawn")


def colors_of(canvas: Locator) -> int:
    colors: int = canvas.evaluate(
        """canvas => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    return colors


def test_title_says_how_many_gpus_are_busy(cluster_page: Page) -> None:
    expect(cluster_page).to_have_title(re.compile(r"^\d+/\d+ busy · Live · GPU cluster$"))


def test_visitor_sees_the_load_but_cannot_change_it(cluster_page: Page) -> None:
    expect(cluster_page.locator("#rate-shown")).to_contain_text("jobs / min")

    expect(cluster_page.locator("#rate")).to_be_disabled()
    expect(cluster_page.locator("#pause")).to_be_disabled()
    for preset in cluster_page.locator("#presets input").all():
        expect(preset).to_be_disabled()
    expect(cluster_page.get_by_role("link", name="Sign in to change the load")).to_have_attribute(
        "href", "/login?next=/"
    )


def test_staff_chooses_a_preset(staff_page: Page) -> None:
    expect(staff_page.locator("#rate-shown")).to_contain_text("jobs / min")

    with staff_page.expect_response("**/api/control") as answer:
        staff_page.get_by_role("radio", name="High Load").check()

    assert answer.value.status == 200
    control = control_of(staff_page)
    assert (control["preset"], control["rate_per_minute"]) == ("high", 25)
    expect(staff_page.locator("#rate-shown")).to_contain_text("25")


def asks_for(response: Response, rate: float) -> bool:
    """Whether the response is the one to this change: responses to older changes may still arrive."""
    asked = response.request.post_data_json if response.url.endswith("/api/control") else None
    return asked is not None and asked.get("rate_per_minute") == rate


@pytest.mark.parametrize(("key", "rate", "shown"), [("End", 50, "50"), ("Home", 0.1, "0.1")])
def test_staff_moves_the_slider_to_its_ends(staff_page: Page, key: str, rate: float, shown: str) -> None:
    slider = staff_page.locator("#rate")
    expect(staff_page.locator("#rate-shown")).to_contain_text("jobs / min")
    # From the middle, so that the key moves it, whatever the value was before.
    with staff_page.expect_response(lambda response: asks_for(response, 2.2)):
        slider.fill("500")

    with staff_page.expect_response(lambda response: asks_for(response, rate)) as answer:
        slider.press(key)

    assert answer.value.status == 200
    expect(staff_page.locator("#rate-shown")).to_contain_text(re.compile(rf"^{re.escape(shown)}\s"))
    assert control_of(staff_page)["rate_per_minute"] == rate


def test_staff_pauses_and_resumes_arrivals(staff_page: Page) -> None:
    button = staff_page.locator("#pause")
    expect(staff_page.locator("#rate-shown")).to_contain_text("jobs / min")
    expect(button).to_have_text("Pause arrivals")

    button.click()
    expect(button).to_have_text("Resume arrivals")
    expect(staff_page.locator("#paused-note")).to_be_visible()
    assert control_of(staff_page)["paused"] is True

    button.click()
    expect(button).to_have_text("Pause arrivals")
    assert control_of(staff_page)["paused"] is False


def test_refused_change_is_said_and_taken_back(staff_page: Page) -> None:
    problem = {"title": "Unprocessable", "status": 422, "detail": "", "errors": [{"field": "preset", "message": "no"}]}
    expect(staff_page.locator("#rate-shown")).to_contain_text("jobs / min")
    before = control_of(staff_page)["preset"]
    staff_page.route("**/api/control", lambda route: route.fulfill(status=422, json=problem))

    staff_page.keyboard.press("5")

    expect(staff_page.get_by_role("alert").filter(has_text="preset: no")).to_be_visible()
    checked = "[...document.querySelectorAll('#presets input:checked')].map(input => input.value).join()"
    assert staff_page.evaluate(checked) == before


def test_page_says_that_its_data_is_old_until_the_connection_is_back(cluster_page: Page, state: Locator) -> None:
    feed = LiveFeed(cluster_page)
    cluster_page.reload()
    expect(state).to_have_text("Live")

    feed.cut_off()

    banner = cluster_page.locator("#banner-text")
    expect(state).to_have_text("Stale", timeout=STALE_MS)
    expect(banner).to_have_text(
        re.compile(r"^No data for \d+ s — numbers below are from \d\d:\d\d:\d\d. Reconnecting…$")
    )
    expect(cluster_page).to_have_title("Stale · GPU cluster")

    feed.restore()

    expect(state).to_have_text("Live", timeout=BACK_MS)
    expect(banner).to_be_hidden()


def test_page_says_why_new_jobs_are_refused_and_for_how_long(cluster_page: Page, state: Locator) -> None:
    refusal: list[dict[str, str]] = [{"reason": "disk_nearly_full", "words": "The disk is nearly full."}]

    def refuse(message: Message) -> None:
        if message["type"] == "snapshot":
            message["no_room"] = refusal[0] if refusal else None

    LiveFeed(cluster_page, refuse)
    cluster_page.reload()

    banner = cluster_page.locator("#banner-text")
    expect(banner).to_have_text("New jobs are refused: The disk is nearly full.")
    expect(banner).to_be_visible()
    expect(state).to_have_text("Live")

    refusal.clear()

    expect(banner).to_be_hidden()


def test_job_names_are_shown_as_text(cluster_page: Page) -> None:
    name = "<img src=x onerror=\"document.title='owned'\">"

    def rename(message: Message) -> None:
        if message["type"] == "snapshot":
            job = {"id": 1, "name": name, "type": name, "priority": "high"}
            message["next"] = [{**job, "waiting_s": 1.0}]
            ended = {"gpu": 0, "attempt": 1, "state": "failed", "reason": name}
            message["recent"] = [{**job, **ended, "waited_s": 1.0, "ran_s": 1.0, "finished_at": message["at"]}]
            message["events"] = [{"id": 1, "at": message["at"], "kind": "test", "gpu": None, "message": name}]

    LiveFeed(cluster_page, rename)
    cluster_page.reload()

    expect(cluster_page.locator("#finished .name")).to_have_text(name)
    expect(cluster_page.locator("#next .name")).to_have_text(name)
    expect(cluster_page.locator("#events li")).to_contain_text(name)
    expect(cluster_page.locator("main img:not([role])")).to_have_count(0)


def test_unknown_readings_are_a_dash_and_never_a_number(cluster_page: Page) -> None:
    readings = ("utilization_percent", "memory_used_mib", "temperature_c", "power_w")

    def forget(message: Message) -> None:
        if message["type"] == "snapshot":
            message["gpus"][0].update(dict.fromkeys(readings))

    LiveFeed(cluster_page, forget)
    cluster_page.reload()

    lane = cluster_page.locator("#lanes li").first
    expect(lane.get_by_title("unknown", exact=True)).to_have_text(["–"] * len(readings))


def test_server_that_cannot_read_its_data_is_shown_as_unavailable(cluster_page: Page, state: Locator) -> None:
    def break_down(message: Message) -> None:
        if message["type"] == "snapshot":
            text = "the database does not answer"
            at, version = message["at"], message["version"]
            message.clear()
            message.update(type="unavailable", version=version, at=at, message=text)

    LiveFeed(cluster_page, break_down)
    cluster_page.reload()

    expect(state).to_have_text("Unavailable")
    expect(cluster_page.locator("#banner-text")).to_contain_text("the database does not answer")


def test_chosen_theme_survives_a_reload(cluster_page: Page) -> None:
    cluster_page.emulate_media(color_scheme="dark")
    cluster_page.keyboard.press("t")
    expect(cluster_page.locator("html")).to_have_attribute("data-theme", "light")

    cluster_page.reload()

    expect(cluster_page.locator("html")).to_have_attribute("data-theme", "light")


def test_question_mark_opens_the_list_of_shortcuts(cluster_page: Page) -> None:
    cluster_page.keyboard.press("?")

    dialog = cluster_page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    cluster_page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
