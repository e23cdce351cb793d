"""The failure rates page of a running cluster: what it shows, for everybody, on every screen."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.services import wait_until

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}

#: The generator of a new cluster submits 12 jobs a minute.
FIRST_END_SECONDS = 90


@pytest.fixture
def rates_page(staff_page: Page) -> Page:
    staff_page.goto("/admin/failure-rates/")
    return staff_page


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_has_no_accessibility_finding_and_never_scrolls_sideways(rates_page: Page, size: Any, scheme: Any) -> None:
    rates_page.set_viewport_size(size)
    rates_page.emulate_media(color_scheme=scheme)
    # The scheme is set before the page is loaded: a later change fades, and axe would measure mixed colours.
    rates_page.reload()

    findings = Axe().run(rates_page).response["violations"]

    assert [(finding["id"], [node["target"] for node in finding["nodes"]]) for finding in findings] == []
    assert rates_page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_what_ends_is_counted(rates_page: Page) -> None:
    def counted() -> bool:
        rates_page.reload()
        return rates_page.get_by_text("attempts failed").count() > 0

    wait_until(counted, FIRST_END_SECONDS, "a job has ended and is counted")

    expect(rates_page.get_by_role("img", name="Faults by GPU, observed and expected")).to_be_visible()


def test_a_window_is_a_click_away(rates_page: Page) -> None:
    rates_page.get_by_role("link", name="Last week").click()

    expect(rates_page).to_have_url(re.compile(r"window=week$"))
    expect(rates_page.get_by_role("link", name="Last week")).to_have_attribute("aria-current", "page")


def test_the_theme_chosen_on_the_page_holds_in_the_admin(staff_page: Page) -> None:
    staff_page.emulate_media(color_scheme="dark")
    # Before that the script of the page is not loaded yet and misses the click.
    expect(staff_page.locator("#connection-state")).to_have_text("Live")
    staff_page.locator("#theme").click()
    expect(staff_page.locator("html")).to_have_attribute("data-theme", "light")

    staff_page.goto("/admin/failure-rates/")

    expect(staff_page.locator("html")).to_have_attribute("data-theme", "light")
