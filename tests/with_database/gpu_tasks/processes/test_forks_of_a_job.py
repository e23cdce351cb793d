"""What a job forks stays the job's: it never works on as a job process, and it ends with the job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from scheduler.models import Job
from scheduler.rules.states import JobState
from tests.build import story
from tests.services import wait_until
from tests.with_cluster.unix_session import is_alive
from tests.with_database.scripts import ScriptWorker, script_worker

pytestmark = [
    pytest.mark.usefixtures("gpus", "control"),
    pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session"),
]

RUNS_ONCE = [(1, "submitted", 1), (2, "started", 1), (3, "succeeded", 1)]


@pytest.fixture
def scripts(redis: Redis, tmp_path: Path) -> Iterator[ScriptWorker]:
    with script_worker(redis, tmp_path) as worker:
        yield worker


def assert_runs_once(job: Job, result: object) -> None:
    assert (job.state, job.result, job.error) == (JobState.SUCCEEDED, result, "")
    assert story(job) == RUNS_ONCE


def test_a_fork_that_returns_raises_or_exits_ends_there_and_the_next_jobs_run(scripts: ScriptWorker) -> None:
    forking = """
        import os
        children = []
        for end in ("return", "raise", "exit"):
            pid = os.fork()
            if pid == 0:
                break
            children.append(pid)
        else:
            end = "parent"
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
            result = {"codes": codes}
        if end == "raise":
            raise ValueError("in the fork")
        if end == "exit":
            raise SystemExit(7)
    """

    assert_runs_once(scripts.run(forking), {"codes": [0, 1, 7]})

    for number in range(3):
        assert_runs_once(scripts.run(f"result = {{'number': {number}}}"), {"number": number})


def test_a_fork_that_outlives_its_job_is_ended_with_it(scripts: ScriptWorker) -> None:
    job = scripts.run("""
        import os, time
        pid = os.fork()
        if pid == 0:
            os.setsid()
            time.sleep(600)
        result = {"pid": pid}
    """)

    assert job.state == JobState.SUCCEEDED
    assert not is_alive(job.result["pid"])
    assert_runs_once(scripts.run("result = {'next': True}"), {"next": True})


def test_multiprocessing_works_in_each_job_by_every_start_method(scripts: ScriptWorker) -> None:
    for method in ("fork", "spawn", "forkserver", "forkserver"):
        job = scripts.run(f"""
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor
            from script import double
            made = multiprocessing.get_context({method!r})
            with made.Pool(2) as pool:
                pooled = pool.map(double, [1, 2, 3])
            with ProcessPoolExecutor(2, mp_context=made) as executor:
                executed = list(executor.map(double, [4, 5]))
            queue = made.SimpleQueue()
            process = made.Process(target=queue.put, args=(double(6),))
            process.start()
            process.join()
            result = {{"pooled": pooled, "executed": executed, "queued": queue.get(), "exit_code": process.exitcode}}
        """)

        assert_runs_once(job, {"pooled": [2, 4, 6], "executed": [8, 10], "queued": 12, "exit_code": 0})


LEAVING = """
    import multiprocessing, os, time
    from script import leave_processes_behind
    multiprocessing.get_context({method!r}).Process(target=leave_processes_behind, args=({file!r},)).start()
    while not os.path.exists({file!r}):
        time.sleep(0.01)
    {then}
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_and_their_own_sessions_end_with_the_job(scripts: ScriptWorker, tmp_path: Path, method: str) -> None:
    file = tmp_path / "pids"
    job = scripts.run(LEAVING.format(method=method, file=str(file), then="result = {}"))

    pids = [int(pid) for pid in file.read_text().split()]
    assert (job.state, [pid for pid in pids if is_alive(pid)]) == (JobState.SUCCEEDED, [])
    assert_runs_once(scripts.run("result = {'next': True}"), {"next": True})


def test_children_end_with_a_job_that_is_killed_at_its_limit(scripts: ScriptWorker, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    code = LEAVING.format(method="fork", file=str(file), then="time.sleep(600)")
    job = scripts.run(code, time_limit_seconds=2)

    pids = [int(pid) for pid in file.read_text().split()]
    assert (job.state, job.reason) == (JobState.FAILED, "timed_out")
    wait_until(lambda: not any(map(is_alive, pids)), 5, scripts.worker.tail)
    assert_runs_once(scripts.run("result = {'next': True}"), {"next": True})
