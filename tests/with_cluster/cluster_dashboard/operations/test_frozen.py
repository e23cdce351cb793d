"""A process that is frozen is ended from outside, and its successor works."""

from __future__ import annotations

import os
import signal

from cluster_dashboard.operations.supervisor.pulses import FROZEN_SECONDS
from tests.services import wait_until
from tests.with_cluster.cluster import Cluster


def test_a_frozen_web_process_is_replaced_and_no_other(cluster: Cluster) -> None:
    others = {name: cluster.pid(name) for name in ("scheduler", "beat", "flower", "gpu-0", "gpu-1")}
    frozen, alive = cluster.pid("web"), cluster.state_dir / "run" / "web.alive"
    # A process that has just started is not judged.
    wait_until(alive.exists, 10, "the web process touches its file")
    first = alive.stat().st_mtime
    wait_until(lambda: alive.stat().st_mtime > first + 2, 10, "it goes on doing so")

    os.kill(frozen, signal.SIGSTOP)

    cluster.wait_for_successor("web", frozen, seconds=FROZEN_SECONDS + 30)
    cluster.wait_for_output(f"process_frozen role=web pid={frozen}")
    wait_until(cluster.api.is_ready, 30, cluster.tail)
    assert {name: cluster.pid(name) for name in others} == others
