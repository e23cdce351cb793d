"""The pages of the admin, with those of Django: no accessibility finding, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, StorageState, expect

from tests.with_cluster.cluster import Cluster

#: Colours depend on the scheme only, overflow on the size only.
LOOKS = (("dark", {"width": 1440, "height": 900}), ("light", {"width": 390, "height": 844}))

PAGES = (
    "/admin/",
    "/admin/auth/group/",
    "/admin/auth/group/1/change/",
    "/admin/auth/group/1/delete/",
    "/admin/auth/user/",
    "/admin/auth/user/add/",
    "/admin/auth/user/1/change/",
    "/admin/auth/user/1/delete/",
    "/admin/auth/user/1/history/",
    "/admin/auth/user/1/password/",
    "/admin/cluster_dashboard/apitoken/",
    "/admin/cluster_dashboard/apitoken/add/",
    "/admin/password_change/",
    "/admin/scheduler/checkpoint/",
    "/admin/scheduler/clusterevent/",
    "/admin/scheduler/control/1/change/",
    "/admin/scheduler/gpu/",
    "/admin/scheduler/gpu/0/change/",
    "/admin/scheduler/job/",
    "/admin/scheduler/job/?q=sleep&state=succeeded",
    "/admin/scheduler/job/1/change/",
    "/admin/scheduler/job/1/history/",
)


@pytest.fixture(scope="module")
def running_cluster(browser: Browser) -> Iterator[Cluster]:
    """A cluster with a job, a change and a restarted worker."""
    with Cluster(gpus=1) as cluster:
        assert cluster.api.submit_one() == 1
        cluster.api.wait_for_job(1, "succeeded")
        cluster.api.change_control(rate_per_minute=0.2)
        yield cluster


@pytest.fixture(scope="module")
def session(browser: Browser, running_cluster: Cluster) -> StorageState:
    """A browser context in which the administrator has signed in."""
    context = browser.new_context(base_url=running_cluster.url)
    page = context.new_page()
    page.goto("/admin/login/?next=/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(running_cluster.secret("ADMIN_PASSWORD"))
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{running_cluster.url}/admin/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(browser: Browser, running_cluster: Cluster, session: StorageState) -> Iterator[Page]:
    context = browser.new_context(base_url=running_cluster.url, storage_state=session)
    yield context.new_page()
    context.close()


@pytest.fixture
def errors(page: Page) -> list[str]:
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


@pytest.mark.parametrize("path", PAGES)
def test_it_has_no_finding_and_no_console_error(errors: list[str], page: Page, path: str) -> None:
    found: list[Any] = []
    for scheme, size in LOOKS:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size(size)
        # The scheme is set before the page is loaded: a later change fades, and axe would measure mixed colours.
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200
        found += [
            (finding["id"], scheme, [node["target"] for node in finding["nodes"]])
            for finding in Axe().run(page).response["violations"]
        ]

    assert found == []
    assert errors == []


def test_a_job_s_story_stands_in_its_columns(page: Page) -> None:
    page.goto("/admin/scheduler/job/1/change/")
    story = page.get_by_role("region", name="Story")

    expect(story.get_by_role("columnheader")).to_have_text(
        ["N", "At", "Kind", "Attempt", "Gpu", "Reason", "Charged", "Detail"]
    )
    expect(story.locator(".field-kind")).to_have_text(["submitted", "started", "succeeded"])


def test_search_finds_by_its_box(page: Page) -> None:
    page.goto("/admin/scheduler/job/")
    page.get_by_role("textbox", name="Search").fill("no such name")
    page.get_by_role("button", name="Search").click()

    expect(page.locator("#toolbar")).to_contain_text("0 results")
    expect(page.locator("#result_list tbody tr")).to_have_count(0)
