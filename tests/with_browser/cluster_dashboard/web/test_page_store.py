"""What the page keeps of the last five minutes: store.js, run in the browser without a feed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

# Runs BODY with a new store and a function that adds a snapshot.
HARNESS = """async () => {
  const { Store } = await import("/static/web/js/live/store.js");
  const store = new Store();
  const span = (job, from, to, more = {}) => ({
    job, attempt: 1, name: `job-${job}`, type: "sleep", gpu: 0, started_at: from, ended_at: to,
    outcome: to === null ? null : "succeeded", reason: "", ...more });
  const snapshot = (at, spans = [], gpu = {}) => store.mergeSnapshot({
    type: "snapshot", at, point: { t: at, queued: 2 },
    gpus: [{ index: 0, state: "busy", note: "", utilization_percent: 50, spans, ...gpu }], next: [] });
  BODY
}"""


@pytest.fixture
def run(cluster_page: Page):
    return lambda body: cluster_page.evaluate(HARNESS.replace("BODY", body))


def test_an_hour_of_snapshots_keeps_five_minutes(run) -> None:
    kept = run("""
      for (let at = 0; at <= 3600; at += 1) snapshot(at, [span(at, at - 1, at)]);
      const lane = store.lane(0);
      return [store.series.t.length, lane.utilization.length, lane.spans.length, store.series.t[0]];
    """)

    assert kept == [301, 301, 301, 3300]


def test_a_span_told_again_is_one_span_with_its_end(run) -> None:
    spans = run("""
      snapshot(100, [span(1, 90, null)]);
      snapshot(101, [span(1, 90, 100.5)]);
      return store.lane(0).spans.map(each => [each.job, each.ended_at]);
    """)

    assert spans == [[1, 100.5]]


def test_a_second_attempt_is_a_span_of_its_own(run) -> None:
    outcomes = run("""
      snapshot(100, [span(1, 90, 95, { outcome: "requeued" })]);
      snapshot(101, [span(1, 98, null, { attempt: 2 })]);
      return store.lane(0).spans.map(each => each.outcome);
    """)

    assert outcomes == ["requeued", None]


def test_an_end_that_was_missed_is_the_start_of_the_next_job(run) -> None:
    ends = run("""
      snapshot(100, [span(1, 90, null)]);
      snapshot(110, [span(9, 105, null)]);
      return [store.lane(0).endOf(0, 110), store.lane(0).endOf(1, 110)];
    """)

    assert ends == [105, 110]


def test_history_after_a_reconnect_replaces_what_was_kept(run) -> None:
    jobs = run("""
      snapshot(100, [span(1, 90, null)]);
      store.mergeHistory({ at: 200, gpus: [{ index: 0, utilization: [[199, null]] }],
                           spans: [span(1, 90, 120), span(2, 130, null)], series: { t: [199], queued: [null] } });
      return [store.lane(0).spans.map(each => [each.job, each.ended_at]), store.lane(0).utilization];
    """)

    assert jobs == [[[1, 120], [2, None]], [[199, None]]]


def test_a_series_is_as_long_as_its_times_whenever_it_begins(run) -> None:
    series = run("""
      store.mergeHistory({ at: 200, gpus: [], spans: [], series: { t: [199, 200], queued: [null, 1] } });
      store.mergeSnapshot({ type: "snapshot", at: 201, point: { t: 201, queued: 3, power_w: 9 }, gpus: [], next: [] });
      return store.series;
    """)

    assert series == {"t": [199, 200, 201], "queued": [None, 1, 3], "power_w": [None, None, 9]}


def test_time_off_is_kept_with_its_end(run) -> None:
    periods = run("""
      snapshot(100);
      snapshot(110, [], { state: "offline", note: "no heartbeat" });
      snapshot(120, [], { state: "offline", note: "no heartbeat" });
      snapshot(130);
      return store.lane(0).off;
    """)

    assert periods == [{"state": "offline", "note": "no heartbeat", "from": 110, "to": 130}]


def test_a_type_without_a_token_has_always_the_same_color(cluster_page: Page) -> None:
    first, again, other = cluster_page.evaluate("""async () => {
      const { typeColor } = await import("/static/web/js/shared/colors.js");
      return [typeColor("embedding"), typeColor("embedding"), typeColor("transcode")];
    }""")

    assert first == again
    assert first != other
