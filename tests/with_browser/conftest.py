"""A page in Chromium, open on a cluster that runs for the module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import missing
from tests.with_cluster.cluster import Cluster

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Milliseconds to wait for an element: other tests run on the machine.
PATIENCE_MS = 15_000
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For a module, not for the session: while playwright runs, Django treats every test as asynchronous."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing("Chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running_cluster(browser: Browser) -> Iterator[Cluster]:
    """With the defaults, but smaller: jobs arrive, and faults hit some of them."""
    with Cluster(gpus=3, environment={"JOB_RATE": "12"}) as cluster:
        yield cluster


@pytest.fixture
def page(browser: Browser, running_cluster: Cluster) -> Iterator[Page]:
    context = browser.new_context(base_url=running_cluster.url)
    yield context.new_page()
    context.close()


@pytest.fixture
def cluster_page(page: Page) -> Page:
    """The live page as a visitor sees it."""
    page.goto("/")
    return page


@pytest.fixture
def staff_page(page: Page, running_cluster: Cluster) -> Page:
    """The live page as the administrator sees it, signed in with the form."""
    page.goto("/login?next=/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(running_cluster.secret("ADMIN_PASSWORD"))
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{running_cluster.url}/")
    return page
