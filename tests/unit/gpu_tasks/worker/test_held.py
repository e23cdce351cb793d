"""The page in memory on which a job process writes the job that it holds."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Thread

from gpu_tasks.worker.held import Held
from tests.services import wait_until

#: Inherits the page, takes a job and dies with it. A program of its own: the tests' process may have threads.
DIES_HOLDING = """
import os
from gpu_tasks.worker.held import Held
held = Held()
if os.fork() == 0:
    held.running(7, 1, time_limit_seconds=60, memory_mib=0, load=1.0)
    os._exit(9)
os.wait()
print(held.read().job_id, held.read().child_pid != os.getpid())
"""


def as_if_written_by_a_dead_child(held: Held, job_id: int) -> None:
    mine = os.getpid
    os.getpid = lambda: 2**22 + 1  # above every pid of Linux
    try:
        held.running(job_id, 1, time_limit_seconds=60, memory_mib=0, load=1.0)
    finally:
        os.getpid = mine


def test_what_a_dead_job_process_held_is_still_there():
    found = subprocess.run([sys.executable, "-c", DIES_HOLDING], capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["7", "True"]


def test_new_job_process_claims_no_job_before_the_dead_ones_has_ended():
    held = Held()
    as_if_written_by_a_dead_child(held, 7)
    taker = Thread(target=held.claiming, args=(8, 1), daemon=True)
    taker.start()

    taker.join(timeout=0.1)
    assert held.read().job_id == 7

    held.release()
    wait_until(lambda: (job := held.read()) is not None and job.job_id == 8, 5, "the new child claims")


def test_job_process_that_returned_a_hint_claims_the_next_job_at_once():
    held = Held()
    held.claiming(7, 1)

    held.claiming(8, 1)

    assert held.read().key == (8, 1)
