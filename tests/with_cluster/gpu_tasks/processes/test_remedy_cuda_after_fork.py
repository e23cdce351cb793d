"""A worker whose main process has loaded CUDA forks no child: no child of it could use CUDA.

One of two starts of GPU 1's worker lacks the remedy: there the job is taken, and fails for no fault of its own.
"""

from __future__ import annotations

import os
import signal

from tests.mutants.source import source_without
from tests.with_cluster.api import story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.gpu_machine import FOLDER, GpuMachine

GPU_COUNT = 1
#: Knows the job type; its own GPU is simulated.
ENVIRONMENT = {"PYTHONPATH": str(FOLDER)}
GPU = 1
#: sysexits.h's "configuration error".
EXIT_CONFIGURATION = 78


def test_cuda_is_never_forked(cluster: Cluster) -> None:
    machine = GpuMachine(2)
    # A driver that tells no UUID: nothing else looks at CUDA before the job does.
    machine.set(GPU, uuid=None)
    too_early = {**machine.environment, "CUDA_TOO_EARLY": "yes"}
    cluster.steer_to(GPU)
    job_id = cluster.api.submit_one("cuda_probe", params={})

    refusing = cluster.start_worker(GPU, **too_early)

    assert cluster.wait_for_worker_end(refusing) == EXIT_CONFIGURATION
    assert cluster.api.job(job_id)["state"] == "queued"
    ((quarantined,),) = cluster.query('SELECT quarantined FROM scheduler_gpu WHERE "index" = ?', GPU)
    assert "cupy is loaded in the worker's main process" in quarantined

    # Proved well by a worker that does not load CUDA too early: it takes jobs again.
    cluster.wait_for_worker(GPU, healthy := cluster.start_worker(GPU, **machine.environment))
    job = cluster.api.wait_for_job(job_id)
    assert (job["state"], job["gpu"]) == ("succeeded", GPU), story(job)
    os.kill(healthy, signal.SIGTERM)
    cluster.wait_for_worker_end(healthy)

    without = cluster.start_worker(GPU, source_without("fork_after_cuda"), **too_early)
    cluster.wait_for_worker(GPU, without)
    job = cluster.api.wait_for_job(cluster.api.submit_one("cuda_probe", params={}))
    assert (job["state"], job["gpu"]) == ("failed", GPU), story(job)
    assert "initialization error" in job["error"]
