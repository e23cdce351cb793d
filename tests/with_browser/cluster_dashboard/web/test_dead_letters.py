"""Dead letters on the page: counted on the live page, shown as text, dropped by users with the permission."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from scheduler.broker.hints import queue_key
from tests.services import wait_until
from tests.with_cluster.cluster import Cluster

EVIL = b"<img src=x onerror=document.title='owned'>"
SOON_MS = 10_000


@pytest.fixture(scope="module")
def running_cluster(browser: Browser) -> Iterator[Cluster]:
    with Cluster(gpus=1) as cluster:
        yield cluster


@pytest.fixture
def letters(running_cluster: Cluster) -> None:
    """Two messages that this cluster did not send, moved out of a queue by a real worker."""
    with running_cluster.redis() as redis:
        redis.delete("gpucluster:dead-letters")
        redis.lpush(queue_key("low"), EVIL, b"\xff\x00")
        wait_until(lambda: redis.llen("gpucluster:dead-letters") == 2, 15, "both are dead letters")


@pytest.mark.usefixtures("letters")
def test_live_page_counts_them_and_leads_to_the_list(cluster_page: Page) -> None:
    cluster_page.get_by_role("link", name="2 dead letters").click(timeout=SOON_MS)

    expect(cluster_page.locator("#letters li")).to_have_count(2)
    expect(cluster_page.locator("#letters")).to_contain_text("the message: not JSON")
    expect(cluster_page.get_by_role("button", name="Drop")).to_have_count(0)


@pytest.mark.usefixtures("letters")
def test_content_is_text_and_nothing_else(page: Page) -> None:
    page.goto("/dead-letters")
    expect(page.locator("#letters summary")).to_have_count(2)
    for summary in page.locator("#letters summary").all():
        summary.click()

    expect(page.locator("#letters pre").filter(has_text=EVIL.decode())).to_be_visible()
    expect(page.locator("#letters pre").filter(has_text="\\xff")).to_be_visible()
    expect(page.locator("#letters img")).to_have_count(0)
    expect(page).to_have_title("Dead letters · GPU cluster")


@pytest.mark.usefixtures("letters")
def test_staff_drops_one_and_then_all(staff_page: Page) -> None:
    staff_page.goto("/dead-letters")
    staff_page.locator("#letters li").get_by_role("button").first.click()
    expect(staff_page.locator("#letters li")).to_have_count(1)

    staff_page.get_by_role("button", name="Drop all").click()
    staff_page.get_by_role("dialog").get_by_role("button", name="Keep them").click()
    expect(staff_page.locator("#letters li")).to_have_count(1)
    staff_page.get_by_role("button", name="Drop all").click()
    staff_page.get_by_role("dialog").get_by_role("button", name="Drop all").click()

    # Visible, since the hidden element has this text already: leaving the page earlier would cancel the request.
    expect(staff_page.locator("#letters-empty")).to_be_visible()
    expect(staff_page.locator("#letters-empty")).to_have_text("There are no dead letters.")
    staff_page.goto("/")
    expect(staff_page.locator("#events")).to_contain_text("1 dead letter dropped, by admin")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.usefixtures("letters")
def test_list_has_no_finding_and_no_console_error(staff_page: Page, width: int, scheme: Any) -> None:
    errors: list[str] = []
    staff_page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    staff_page.on("pageerror", lambda error: errors.append(str(error)))
    staff_page.set_viewport_size({"width": width, "height": 844})
    staff_page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    staff_page.goto("/dead-letters")
    staff_page.locator("#letters summary").first.click()

    findings = Axe().run(staff_page).response["violations"]

    assert [(finding["id"], [node["target"] for node in finding["nodes"]]) for finding in findings] == []
    assert staff_page.evaluate("document.documentElement.scrollWidth") <= width
    assert errors == []
