"""What the tests ask the cluster over HTTP, and how they wait for a job."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import httpx

from tests.services import wait_until

Job = dict[str, Any]
Event = dict[str, Any]

# One line for each question, of which a wait asks many: they would hide what a failed test says.
logging.getLogger("httpx").setLevel(logging.WARNING)

ENDED = ("succeeded", "failed", "cancelled")


class Api:
    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=10)

    def close(self) -> None:
        self.http.close()

    # --- asking

    def submit(self, type: str = "sleep", *, count: int = 1, **fields: Any) -> list[int]:  # noqa: A002
        """The ids of `count` equal jobs; `sleep` without parameters is a job without work."""
        params = {"seconds": 0} if type == "sleep" else {}
        body = {"type": type, "params": params, "count": count, **fields}
        return self._ok(self.http.post("/api/jobs", json=body))["ids"]

    def submit_one(self, type: str = "sleep", **fields: Any) -> int:  # noqa: A002
        return self.submit(type, **fields)[0]

    def job(self, job_id: int) -> Job:
        return self._job(self.http.get(f"/api/jobs/{job_id}"))

    def jobs(self, **query: Any) -> list[Job]:
        """Newest first."""
        return self._ok(self.http.get("/api/jobs", params={"limit": 500, **query}))["jobs"]

    def cancel(self, job_id: int) -> str:
        """The outcome in the API's words, or `already ended`."""
        answer = self.http.post(f"/api/jobs/{job_id}/cancel")
        return "already ended" if answer.status_code == 409 else self._ok(answer)["outcome"]

    def change_control(self, **changes: Any) -> dict[str, Any]:
        return self._ok(self.http.patch("/api/control", json=changes))

    def change_gpu(self, index: int, **changes: Any) -> dict[str, Any]:
        return self._ok(self.http.patch(f"/api/gpus/{index}", json=changes))

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    # --- waiting

    def wait_for_job(self, job_id: int, *states: str, seconds: float = 30) -> Job:
        """The job once it is in one of the states (default: once it has ended)."""
        return self._wait(job_id, lambda job: job["state"] in (states or ENDED), seconds)

    def wait_for_event(self, job_id: int, kind: str, *, attempt: int = 1, seconds: float = 30) -> Event:
        job = self._wait(job_id, lambda job: bool(events_of(job, kind, attempt)), seconds)
        return events_of(job, kind, attempt)[0]

    def wait_for_jobs(self, job_ids: Iterable[int], *, seconds: float = 30) -> list[Job]:
        """All of them once each has ended; in the order given."""
        return [self.wait_for_job(job_id, seconds=seconds) for job_id in job_ids]

    def _wait(self, job_id: int, condition: Any, seconds: float) -> Job:
        last: list[Job] = []

        def look() -> Job | None:
            try:
                answer = self.http.get(f"/api/jobs/{job_id}")
            except httpx.TransportError:
                return None  # the web process may be the one that was killed
            if answer.status_code == 503:
                return None
            last[:] = [self._job(answer)]
            return last[0] if condition(last[0]) else None

        return wait_until(look, seconds, lambda: story(last[0]) if last else f"job {job_id}: no answer from the API")

    def _job(self, answer: httpx.Response) -> Job:
        """Without the moment of the answer: a job that nothing happens to looks the same twice."""
        return {name: value for name, value in self._ok(answer).items() if name != "at"}

    def _ok(self, answer: httpx.Response) -> Any:
        assert answer.is_success, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
        return answer.json()


def events_of(job: Job, kind: str, attempt: int | None = None) -> list[Event]:
    return [event for event in job["events"] if event["kind"] == kind and attempt in (None, event["attempt"])]


def story(job: Job) -> str:
    lines = [f"job {job['id']} {job['type']} is {job['state']}, attempt {job['attempt']}, failures {job['failures']}"]
    for event in job["events"]:
        words = f"{event['n']:>3} {event['at']} {event['kind']} attempt={event['attempt']} gpu={event['gpu']}"
        lines.append(f"{words} {event['reason']} {event['detail']}".rstrip())
    return "\n".join(lines)


def assert_ended_once(job: Job) -> None:
    """One terminal event, the last one; numbers without a gap; each start with a higher attempt than the one before."""
    kinds = [event["kind"] for event in job["events"]]
    starts = [event["attempt"] for event in events_of(job, "started")]

    assert [event["n"] for event in job["events"]] == list(range(1, len(kinds) + 1)), story(job)
    assert [kind for kind in kinds if kind in ENDED] == [kinds[-1]], story(job)
    assert starts == sorted(set(starts)), story(job)
