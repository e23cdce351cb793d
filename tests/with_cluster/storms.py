"""What the tests of storms share: a load of which nothing may be taken back, and submitting that is timed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx

from tests.with_cluster.api import assert_ended_once, story
from tests.with_cluster.cluster import Cluster


@dataclass
class Load:
    """Jobs that ran and waited when the storm began."""

    cluster: Cluster
    ids: list[int] = field(default_factory=list)

    def assert_unhurt(self, *, seconds: float) -> None:
        """All succeed at their first attempt: nobody was thought dead, nothing charged, nothing done twice."""
        jobs = self.cluster.api.wait_for_jobs(self.ids, seconds=seconds)
        hurt = [job for job in jobs if (job["state"], job["attempt"], job["failures"]) != ("succeeded", 1, 0)]
        assert not hurt, "\n".join(map(story, hurt))
        for job in jobs:
            assert_ended_once(job)


def load(cluster: Cluster, *, running_seconds: float, waiting: int = 10) -> Load:
    """Every GPU is busy for so long."""
    running = cluster.api.submit(count=cluster.gpu_count, params={"seconds": running_seconds}, priority="critical")
    for job_id in running:
        cluster.api.wait_for_event(job_id, "started")
    return Load(cluster, [*running, *cluster.api.submit(count=waiting, params={"seconds": 0.1})])


@dataclass
class Submitted:
    """statuses and seconds of each call, in order; ids of what is in."""

    ids: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    retry_after: list[str | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def submit_for(cluster: Cluster, seconds: float, *, timeout: float = 40) -> Submitted:
    """One job after the other, ten a second at most."""
    found = Submitted()
    headers = cluster.api.http.headers
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=timeout) as http:
        until = time.monotonic() + seconds
        while (began := time.monotonic()) < until:
            answer = http.post("/api/jobs", json={"type": "sleep", "params": {"seconds": 0}})
            found.seconds.append(time.monotonic() - began)
            found.statuses.append(answer.status_code)
            if answer.status_code == 202:
                found.ids += answer.json()["ids"]
            else:
                found.retry_after.append(answer.headers.get("Retry-After"))
            time.sleep(max(0.0, 0.1 - found.seconds[-1]))  # a pace, not a wait
    return found
