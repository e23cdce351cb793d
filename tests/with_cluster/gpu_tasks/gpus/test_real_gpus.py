"""Workers of real GPUs: each proves that it is pinned to its own, and none shares one with anybody."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from scheduler.loops.heartbeats import SILENCE_SECONDS
from tests.services import wait_until
from tests.with_cluster.api import assert_ended_once, events_of, story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.gpu_machine import GpuMachine, uuid_of

GPU_COUNT = 2
MACHINE = GpuMachine(GPU_COUNT)
ENVIRONMENT = MACHINE.environment

OTHER_UUID = uuid_of(9)
ECC_ERROR = "cudaErrorECCUncorrectable: uncorrectable ECC error encountered"
ILLEGAL_ADDRESS = "cudaErrorIllegalAddress: an illegal memory access was encountered"


@pytest.fixture
def machine(cluster: Cluster) -> Iterator[GpuMachine]:
    yield MACHINE
    MACHINE.reset()
    release_broken(cluster)
    for gpu in range(GPU_COUNT):
        if gpu_info(cluster, gpu)["quarantined"]:
            replace_child(cluster, gpu)


def gpu_info(cluster: Cluster, gpu: int) -> dict:
    answer = cluster.api.http.get("/api/gpus")
    answer.raise_for_status()
    return next(each for each in answer.json()["gpus"] if each["index"] == gpu)


def release_broken(cluster: Cluster) -> None:
    """As an operator does after the repair."""
    with closing(sqlite3.connect(cluster.state_dir / "cluster.sqlite3")) as database, database:
        database.execute("UPDATE scheduler_gpu SET quarantined = '' WHERE quarantined LIKE 'GPU fault: %'")


def replace_child(cluster: Cluster, gpu: int) -> int:
    """Gives the new child, which has proved its pinning."""
    old = cluster.child_pid(gpu)
    os.kill(old, signal.SIGKILL)
    return wait_until(lambda: (new := cluster.child_pid(gpu)) != old and new, 10, f"GPU {gpu} has a new child")


def wait_for_note(cluster: Cluster, gpu: int, words: str) -> None:
    wait_until(lambda: words in cluster.beats()[gpu].note, 10, lambda: f"{words!r} in {cluster.beats()[gpu]}")


def gpus_of_jobs(cluster: Cluster, count: int = 8) -> set[int]:
    jobs = cluster.api.wait_for_jobs(cluster.api.submit(count=count, params={"seconds": 0.2}))
    assert {job["state"] for job in jobs} == {"succeeded"}, "\n".join(map(story, jobs))
    return {job["gpu"] for job in jobs}


def test_pinning_is_proven_before_the_first_job(cluster: Cluster, machine: GpuMachine) -> None:
    for gpu in range(GPU_COUNT):
        proven = wait_until(lambda gpu=gpu: gpu_info(cluster, gpu)["cuda_uuid"], 10, f"GPU {gpu} is proven")

        assert proven == gpu_info(cluster, gpu)["uuid"] == uuid_of(gpu)


def test_cuda_is_loaded_in_children_and_never_in_a_main_process(cluster: Cluster, machine: GpuMachine) -> None:
    job_ids = cluster.api.submit("cuda_probe", count=4, params={})
    jobs = cluster.api.wait_for_jobs(job_ids)

    assert {job["state"] for job in jobs} == {"succeeded"}, "\n".join(map(story, jobs))
    loaded = machine.loaded_cuda()
    assert {job["result"]["pid"] for job in jobs} <= loaded
    mains = {cluster.pid(f"gpu-{gpu}") for gpu in range(GPU_COUNT)} | {cluster.pid(name) for name in ("web", "up")}
    assert mains & loaded == set()


def test_a_gpu_that_is_not_the_pinned_one_runs_no_job(cluster: Cluster, machine: GpuMachine) -> None:
    machine.set(1, cuda_uuid=OTHER_UUID)
    replace_child(cluster, 1)

    wait_for_note(cluster, 1, "quarantined")

    assert gpus_of_jobs(cluster) == {0}
    info = gpu_info(cluster, 1)
    assert uuid_of(1) in info["quarantined"]
    assert OTHER_UUID in info["quarantined"]
    assert info["cuda_uuid"] == OTHER_UUID
    # Proved again by the next process, once the cause is gone.
    machine.reset()
    replace_child(cluster, 1)
    wait_until(lambda: not gpu_info(cluster, 1)["quarantined"], 10, lambda: str(gpu_info(cluster, 1)))
    assert gpu_info(cluster, 1)["cuda_uuid"] == uuid_of(1)


def test_a_gpu_with_a_foreign_process_takes_no_job_until_that_has_ended(cluster: Cluster, machine: GpuMachine) -> None:
    with subprocess.Popen(["sleep", "600"]) as foreign:
        machine.set(1, pids=[foreign.pid])
        wait_for_note(cluster, 1, str(foreign.pid))

        assert gpus_of_jobs(cluster) == {0}

        # It belongs to no job of this worker, and is not killed.
        assert foreign.poll() is None
        foreign.kill()
    wait_until(lambda: not cluster.beats()[1].note, 10, lambda: str(cluster.beats()[1]))
    assert gpus_of_jobs(cluster) == {0, 1}


def test_a_gpu_whose_memory_is_not_free_takes_no_job(cluster: Cluster, machine: GpuMachine) -> None:
    machine.set(0, used_mib=5_000)

    # At once, before the worker's own rounds have noticed anything: each job looks first.
    assert gpus_of_jobs(cluster) == {1}

    wait_for_note(cluster, 0, "5000 MiB")


def test_the_process_is_replaced_after_a_cuda_error(cluster: Cluster, machine: GpuMachine) -> None:
    children = [cluster.child_pid(gpu) for gpu in range(GPU_COUNT)]

    failing, *others = cluster.api.submit("cuda_probe", params={"error": ILLEGAL_ADDRESS}) + cluster.api.submit(
        "cuda_probe", count=8, params={}
    )

    job = cluster.api.wait_for_job(failing)
    assert (job["state"], job["reason"]) == ("failed", "job_error"), story(job)
    assert "cudaErrorIllegalAddress" in job["error"]
    gpu = job["gpu"]
    wait_until(lambda: cluster.child_pid(gpu) != children[gpu], 10, lambda: f"GPU {gpu} has a new child")
    assert cluster.child_pid(1 - gpu) == children[1 - gpu]
    for other in cluster.api.wait_for_jobs(others):
        assert (other["state"], other["attempt"]) == ("succeeded", 1), story(other)
        assert other["gpu"] != gpu or other["result"]["pid"] != children[gpu]
        assert_ended_once(other)


@pytest.mark.parametrize("trouble", [{"answer_seconds": 3.0}, {"hangs": True}], ids=["3 s for each call", "hangs"])
def test_a_driver_that_does_not_answer_makes_its_gpu_unknown_and_ends_no_job(
    cluster: Cluster, machine: GpuMachine, trouble: dict[str, object]
) -> None:
    workers = {gpu: cluster.pid(f"gpu-{gpu}") for gpu in range(GPU_COUNT)}
    # Longer than the silence after which a worker is declared dead.
    job_ids = cluster.api.submit(count=GPU_COUNT, params={"seconds": SILENCE_SECONDS + 6})
    gpus = {cluster.api.wait_for_event(job_id, "started")["gpu"] for job_id in job_ids}
    assert gpus == {0, 1}

    machine.set(1, **trouble)

    wait_for_note(cluster, 1, "its driver has not answered")
    for job in cluster.api.wait_for_jobs(job_ids):
        assert (job["state"], job["attempt"], job["failures"]) == ("succeeded", 1, 0), story(job)
    assert gpu_info(cluster, 1)["state"] == "unknown"
    assert gpus_of_jobs(cluster) == {0}
    machine.reset()
    wait_until(lambda: not cluster.beats()[1].note, 20, lambda: str(cluster.beats()[1]))
    assert {gpu: cluster.pid(f"gpu-{gpu}") for gpu in range(GPU_COUNT)} == workers


def test_a_worker_that_starts_while_the_driver_hangs_sends_heartbeats(cluster: Cluster, machine: GpuMachine) -> None:
    before = cluster.beats()[1].boot
    machine.set(1, hangs=True)

    os.kill(cluster.pid("gpu-1"), signal.SIGKILL)

    wait_until(lambda: cluster.beats()[1].boot != before, 40, cluster.tail)
    wait_for_note(cluster, 1, "its driver has not answered")
    assert cluster.beats()[1].health == "unknown"
    machine.reset()
    wait_until(lambda: not cluster.beats()[1].note, 20, lambda: str(cluster.beats()[1]))
    os.kill(cluster.pid("gpu-1"), signal.SIGKILL)
    wait_until(lambda: gpu_info(cluster, 1)["uuid"] == uuid_of(1), 30, lambda: str(gpu_info(cluster, 1)))


def assert_it_ran_elsewhere(cluster: Cluster, job_id: int, broken: int, detail: str) -> None:
    job = cluster.api.wait_for_job(job_id)

    assert (job["state"], job["attempt"], job["failures"], job["gpu"]) == ("succeeded", 2, 1, 1 - broken), story(job)
    (requeued,) = events_of(job, "requeued")
    assert (requeued["reason"], requeued["gpu"]) == ("gpu_fault", broken), story(job)
    assert gpu_info(cluster, broken)["quarantined"] == f"GPU fault: {detail}"
    assert gpus_of_jobs(cluster) == {1 - broken}
    assert_ended_once(job)


def test_a_job_that_meets_a_broken_gpu_runs_elsewhere_and_the_gpu_leaves_service(
    cluster: Cluster, machine: GpuMachine
) -> None:
    """CUDA reports it in the job."""
    cluster.steer_to(1)
    job_id = cluster.api.submit_one("cuda_probe", params={"error": ECC_ERROR, "on_gpu": 1})

    cluster.api.wait_for_event(job_id, "requeued")
    cluster.steer_to(0, 1)

    assert_it_ran_elsewhere(cluster, job_id, 1, "CUDA reports cudaErrorECCUncorrectable")


def test_a_job_whose_gpu_is_lost_while_it_runs_runs_elsewhere_and_the_gpu_leaves_service(
    cluster: Cluster, machine: GpuMachine
) -> None:
    """The job itself notices nothing; NVML reports it."""
    job_id = cluster.api.submit(params={"seconds": 4})[0]
    gpu = cluster.api.wait_for_event(job_id, "started")["gpu"]

    machine.set(gpu, is_lost=True)

    assert_it_ran_elsewhere(cluster, job_id, gpu, "NVML: GPU is lost")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("raises", "it does not start: CuPy cannot be imported: AttributeError: numpy has no attribute 'bool'"),
        ("ends the process", "its job process died while it loaded CUDA"),
    ],
)
def test_a_gpu_whose_job_process_cannot_load_cuda_says_so_and_its_worker_goes_on(
    cluster: Cluster, machine: GpuMachine, trouble: str, words: str
) -> None:
    worker = cluster.pid("gpu-1")
    machine.set(1, **{"import": trouble})
    os.kill(cluster.child_pid(1), signal.SIGKILL)

    wait_for_note(cluster, 1, f"quarantined: CUDA: {words}")

    assert gpus_of_jobs(cluster) == {0}
    loaded = machine.loaded_cuda()
    assert gpus_of_jobs(cluster) == {0}
    assert machine.loaded_cuda() == loaded, "no job process after the other tries it"
    assert cluster.pid("gpu-1") == worker
    # A new worker checks at once, not only after a minute.
    machine.reset()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not gpu_info(cluster, 1)["quarantined"], 30, lambda: str(gpu_info(cluster, 1)))
