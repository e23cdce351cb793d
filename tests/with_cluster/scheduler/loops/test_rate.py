"""What people turn acts at once: rate, pause, preset."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.services import wait_until
from tests.with_cluster.cluster import Cluster

GPU_COUNT = 1

#: The generator looks once a second; the rest is for a machine that is busy.
ACTS_WITHIN_SECONDS = 3


def arrivals(cluster: Cluster) -> int:
    return int(cluster.query("SELECT COUNT(*) FROM scheduler_job WHERE source = 'generator'")[0][0])


def test_raised_rate_acts_at_once_even_from_the_lowest(cluster: Cluster) -> None:
    cluster.api.change_control(rate_per_minute=0.1, paused=False)
    before = arrivals(cluster)

    cluster.api.change_control(rate_per_minute=3000)

    wait_until(lambda: arrivals(cluster) > before, ACTS_WITHIN_SECONDS, cluster.tail)


def test_arrivals_fit_the_rate(cluster: Cluster) -> None:
    cluster.api.change_control(rate_per_minute=6000, paused=False)
    begin = datetime.now(UTC)
    before = arrivals(cluster)

    wait_until(lambda: arrivals(cluster) >= before + 400, 20, lambda: f"{arrivals(cluster) - before}\n{cluster.tail()}")

    newest = datetime.fromisoformat(f"{cluster.query('SELECT MAX(submitted_at) FROM scheduler_job')[0][0]}+00:00")
    expected = (newest - begin).total_seconds() * 6000 / 60
    # Five standard deviations of a Poisson process.
    assert arrivals(cluster) - before == pytest.approx(expected, abs=5 * expected**0.5)


def test_paused_generator_makes_no_job(cluster: Cluster) -> None:
    cluster.api.change_control(rate_per_minute=3000, paused=False)
    before = arrivals(cluster)
    wait_until(lambda: arrivals(cluster) > before, ACTS_WITHIN_SECONDS, cluster.tail)

    cluster.api.change_control(paused=True)

    made = arrivals(cluster)
    # Two heartbeats are four seconds: several ticks of the generator, of which each would have made 50 jobs.
    seq = cluster.beats()[0].seq
    wait_until(lambda: cluster.beats()[0].seq >= seq + 2, 20, cluster.tail)
    assert arrivals(cluster) == made


@pytest.mark.parametrize(("preset", "rate"), [("light", 2), ("maximum", 50)])
def test_preset_is_kept_and_shown(cluster: Cluster, preset: str, rate: float) -> None:
    cluster.api.change_control(rate_per_minute=0.1)

    cluster.api.change_control(preset=preset)

    shown: dict[str, Any] = cluster.api.http.get("/api/control").json()
    assert (shown["preset"], shown["rate_per_minute"]) == (preset, rate)
