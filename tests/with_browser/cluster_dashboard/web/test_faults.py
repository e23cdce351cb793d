"""The faults panel of the live page: who sees it, and that a fault takes effect."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.services import wait_until
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_alive


def test_visitor_sees_no_faults_panel(cluster_page: Page) -> None:
    expect(cluster_page.get_by_role("heading", name="Load")).to_be_visible()

    expect(cluster_page.get_by_role("heading", name="Faults")).to_have_count(0)


def test_fault_of_the_page_kills_the_worker_and_names_who(staff_page: Page, running_cluster: Cluster) -> None:
    old_pid = running_cluster.pid("gpu-1")
    staff_page.get_by_label("GPU", exact=True).select_option("1")
    staff_page.get_by_label("Fault", exact=True).select_option("Worker killed")

    staff_page.get_by_role("button", name="Inject").click()

    expect(staff_page.locator("#fault-said")).to_have_text("GPU 1: Worker killed")
    running_cluster.wait_for_successor("gpu-1", old_pid, seconds=10)
    wait_until(lambda: not is_alive(old_pid), 5, "the worker is gone")
    event = staff_page.locator("#events").get_by_text("GPU 1: fault injected: Worker killed, by admin")
    expect(event.first).to_be_visible(timeout=10_000)


def test_faults_panel_has_no_accessibility_finding(staff_page: Page) -> None:
    expect(staff_page.get_by_role("heading", name="Faults")).to_be_visible()

    findings = Axe().run(staff_page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]

    assert [(finding["id"], [node["target"] for node in finding["nodes"]]) for finding in findings] == []
