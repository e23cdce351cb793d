"""The cluster heals: who was stopped goes on, the loops tick, idle workers work. Then every job must end.

Workers that died stay dead, as long as one lives that every job fits on: their jobs come back through the reaper alone.
"""

from __future__ import annotations

from typing import Final

from scheduler.rules.states import Reason
from tests.model import contract
from tests.model.cluster import Cluster, Worker
from tests.model.ledger import ENDS, MEMORY_MIB, promise

#: A lease runs out in 6 s, a death is known after 10, its back-off takes 8 at most.
PATIENCE_SECONDS: Final = 70

#: One to claim, one to end, one until the relay ticks, if a single worker does them all.
SECONDS_FOR_EACH_JOB: Final = 3

#: GPUs that every job fits on.
LARGE: Final = [gpu for gpu, mib in MEMORY_MIB.items() if mib == max(MEMORY_MIB.values())]


def heal(cluster: Cluster) -> None:
    for worker in cluster.workers.values():
        worker.stopped = False
    cluster.broker.fill(full=False)
    for scheduler in cluster.loops.schedulers:
        scheduler.awake = True
    for gpu in cluster.workers:
        cluster.drain(gpu, drained=False)
    if not any(cluster.workers[gpu].alive for gpu in LARGE):
        cluster.boot(LARGE[0])
    for second in range(PATIENCE_SECONDS + SECONDS_FOR_EACH_JOB * len(cluster.ledger.jobs)):
        if not cluster.ledger.in_state("queued", "running"):
            break
        _one_second(cluster, second)
    left = [f"job {job.id} is {job.state}" for job in cluster.ledger.in_state("queued", "running")]
    promise("every job ends once the cluster has healed", not left, ", ".join(left))
    _after_the_end(cluster)


def _one_second(cluster: Cluster, second: int) -> None:
    cluster.clock.advance(1.0)
    for worker in cluster.workers.values():
        if worker.alive and cluster.clock.seconds >= worker.next_beat:
            cluster.flush(worker.gpu)
            cluster.beat(worker)
    cluster.loops.tick_reaper()
    if second % 2 == 0:
        # The dearest step of all; hints wait for a second at most.
        cluster.loops.tick_relay()
    for worker in cluster.workers.values():
        if worker.alive:
            _work(cluster, worker)


def _work(cluster: Cluster, worker: Worker) -> None:
    """Ends the job that it holds, or takes hints until one is a job."""
    run = worker.run
    if run is None:
        for message in cluster.broker.readable(worker.gpu):
            if cluster.take(worker, message) != "stale":
                break
        return
    if cluster.ledger.jobs[run.key[0]].cancel_requested:
        cluster.requeue(run.key, Reason.CANCEL)
    elif run.alive:
        cluster.end(run, "succeeded")
    else:
        cluster.requeue(run.key, Reason.CHILD_DIED)
    cluster.gone(run)


def _after_the_end(cluster: Cluster) -> None:
    """What comes late is refused, and nothing is left to do."""
    for run in [run for run in cluster.runs if run.alive]:
        cluster.end(run, "failed")
    for gpu in cluster.workers:
        cluster.flush(gpu)
    for message in cluster.broker.seen:
        answer = cluster.follow(next(worker for worker in cluster.workers.values() if worker.alive), message.key)
        promise("a hint of an ended job is stale", answer == "stale", f"{message.key} is {answer}")
    before = cluster.broker.lying()
    cluster.loops.tick_relay()
    promise("the relay is quiet at the end", cluster.broker.lying() == before, "it sent a hint of an ended job")
    for job in cluster.ledger.jobs.values():
        ends = [kind for kind, _, _ in job.story if kind in ENDS]
        promise("exactly one end", len(ends) == 1 and job.story[-1][0] in ENDS, f"job {job.id}: {job.story}")
    contract.check(cluster)
