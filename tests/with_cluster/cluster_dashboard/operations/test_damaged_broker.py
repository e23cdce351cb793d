"""The machine loses its power, and the broker's file ends in zeros."""

from __future__ import annotations

from tests.with_cluster.cluster import Cluster


def test_the_broker_starts_empty_and_the_waiting_jobs_run() -> None:
    with Cluster(gpus=1) as cluster:
        cluster.api.change_gpu(0, drained=True)
        jobs = cluster.api.submit(count=20, params={"seconds": 0.1})
        cluster.kill_everything()
        [file] = (cluster.state_dir / "broker" / "appendonlydir").glob("*.incr.aof")
        with file.open("ab") as appended:
            appended.write(bytes(4096))
        (cluster.state_dir / "run" / "gpu-0.processes").write_text("null")
        (cluster.state_dir / "run" / "up.lock").write_bytes(bytes(20))
        (cluster.state_dir / "run" / "broker.pid").write_text("0\n")

        cluster.start()

        cluster.api.change_gpu(0, drained=False)
        assert {job["state"] for job in cluster.api.wait_for_jobs(jobs)} == {"succeeded"}
        assert "broker_data_set_aside" in cluster.output()
        [(message,)] = cluster.query("SELECT message FROM scheduler_clusterevent WHERE kind = 'broker'")
        assert message.startswith("The broker's data could not be read")
