"""A GPU that falls off the bus shifts the numbers of the others: no worker takes its neighbour's GPU."""

from __future__ import annotations

from tests.services import wait_until
from tests.with_cluster.api import story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.gpu_machine import GpuMachine, uuid_of

GPU_COUNT = 2
MACHINE = GpuMachine(GPU_COUNT)
ENVIRONMENT = MACHINE.environment


def gpus(cluster: Cluster) -> dict[int, dict]:
    return {each["index"]: each for each in cluster.api.http.get("/api/gpus").json()["gpus"]}


def is_unknown(cluster: Cluster, gpu: int) -> bool:
    return gpus(cluster)[gpu]["state"] in {"unknown", "fault"}


def test_a_lost_gpu_stays_itself_through_restarts_and_a_drained_one_takes_the_new_card(cluster: Cluster) -> None:
    wait_until(lambda: gpus(cluster)[0]["cuda_uuid"], 15, lambda: f"{gpus(cluster)[0]}\n{cluster.tail(60)}")
    MACHINE.take_out(0)
    wait_until(lambda: is_unknown(cluster, 0), 30, lambda: str(gpus(cluster)[0]))

    cluster.kill("gpu-0")
    wait_until(lambda: is_unknown(cluster, 0) and cluster.beats()[0].note, 40, lambda: str(cluster.beats()[0]))
    found = gpus(cluster)
    jobs = cluster.api.wait_for_jobs(cluster.api.submit(count=6, params={"seconds": 0.1}), seconds=60)

    assert (found[0]["uuid"], found[1]["uuid"]) == (uuid_of(0), uuid_of(1))
    assert found[0]["temperature_c"] is None
    assert {(job["state"], job["gpu"]) for job in jobs} == {("succeeded", 1)}, "\n".join(map(story, jobs))

    # An operator replaces the card: it has another UUID, at the same number.
    MACHINE.reset()
    MACHINE.set(0, uuid=uuid_of(7))
    cluster.api.change_gpu(0, drained=True)
    cluster.kill("gpu-0")
    wait_until(lambda: gpus(cluster)[0]["uuid"] == uuid_of(7), 40, lambda: str(gpus(cluster)[0]))
