"""`manage.py chaos` on a real cluster: what it passes, and that it fails where a protection is missing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from scheduler.broker import dead_letters
from scheduler.broker.hints import queue_key
from tests.mutants.source import source_without
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_stopped

#: Of each family what is quick.
QUICK = ("kill_child", "kill_worker", "poison_kill", "malformed_messages", "restart_broker")


def chaos(cluster: Cluster, *arguments: str, command: str = "chaos") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", command, *arguments],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def scorecards(cluster: Cluster, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = chaos(cluster, *arguments, "--json")
    assert done.stdout.startswith("{"), f"{done.stdout}\n{done.stderr}\n{cluster.tail()}"
    return done.returncode, {card["scenario"]: card for card in json.loads(done.stdout)["scorecards"]}


def test_quick_scenarios_pass(cluster: Cluster) -> None:
    code, cards = scorecards(cluster, *QUICK, "--seed", "5")

    assert (code, {name: card["verdict"] for name, card in cards.items()}) == (0, dict.fromkeys(QUICK, "pass")), cards
    assert 0 <= cards["kill_worker"]["detected_seconds"] <= 10
    assert 0 < cards["kill_worker"]["wasted_gpu_seconds"] < 60
    assert cards["poison_kill"]["facts"]["starts"] == 3


def test_a_rehearsal_leaves_no_dead_letters_and_those_of_others(cluster: Cluster) -> None:
    with cluster.redis() as client:
        client.lpush(queue_key("high"), b"{}")
        wait_until(lambda: dead_letters.count(client).kept == 1, 10, cluster.tail)

        _, cards = scorecards(cluster, "malformed_messages")

        facts = cards["malformed_messages"]["facts"]
        assert facts["dead_letters_dropped"] == facts["dead_letters"] > 100
        assert [letter.kept for letter in dead_letters.read(client)] == [b"{}"]


def test_other_peoples_jobs_are_not_rehearsed_with_unless_that_is_meant(cluster: Cluster) -> None:
    somebodys = cluster.api.submit_one(params={"seconds": 60})

    done = chaos(cluster, "kill_child")

    assert done.returncode == 2
    assert "1 waiting or running jobs are not of a rehearsal: add --yes to play it all the same" in done.stderr
    assert cluster.api.job(somebodys)["attempt"] == 1


def test_interrupted_rehearsal_heals_what_it_stopped(cluster: Cluster) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "chaos", "freeze_broker"],
        cwd=ROOT,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    broker = cluster.pid("broker")
    wait_until(lambda: is_stopped(broker), 60, "the broker is stopped")

    process.send_signal(signal.SIGINT)

    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert not is_stopped(broker)
    wait_until(cluster.api.is_ready, 10, cluster.tail)


def test_fault_by_command_hits_the_worker_and_is_recorded(cluster: Cluster) -> None:
    job_id = cluster.api.submit_one(params={"seconds": 3})
    gpu = cluster.api.wait_for_event(job_id, "started")["gpu"]
    cluster.child_pid(gpu)

    done = chaos(cluster, "job_error", "--gpu", str(gpu), command="inject")

    assert done.returncode == 0, done.stderr
    job = cluster.api.wait_for_job(job_id)
    assert (job["state"], job["reason"]) == ("failed", "injected_error")
    recorded = cluster.query("SELECT gpu, actor FROM scheduler_clusterevent WHERE kind = 'fault' ORDER BY id DESC")
    assert recorded[0][0] == gpu
    assert recorded[0][1].startswith("cli (")


def test_worker_that_nobody_reaches_stops_itself_when_asked_and_goes_on(cluster: Cluster) -> None:
    """As in a container: its pidfile is not on the injector's machine."""
    pid, child = cluster.pid("gpu-1"), cluster.child_pid(1)
    pidfile = cluster.state_dir / "run" / "gpu-1.pid"
    hidden = pidfile.rename(pidfile.with_suffix(".hidden"))
    try:
        done = chaos(cluster, "worker_hung", "--gpu", "1", "--seconds", "4", command="inject")

        assert done.returncode == 0, done.stderr
        wait_until(lambda: is_stopped(pid) and is_stopped(child), 5, cluster.shown)
        wait_until(lambda: not is_stopped(child) and not is_stopped(pid), 10, cluster.shown)
    finally:
        hidden.rename(pidfile)


def test_fault_on_a_gpu_without_a_worker_is_refused(cluster: Cluster) -> None:
    done = chaos(cluster, "worker_killed", "--gpu", "63", command="inject")

    assert (done.returncode, "--gpu: 63 is unknown; accepted: 0, 1" in done.stderr) == (2, True), done.stderr


def test_cluster_that_does_not_run_is_not_rehearsed() -> None:
    stopped = Cluster()
    try:
        with_database = subprocess.run(
            [sys.executable, "manage.py", "setup"],
            cwd=ROOT,
            env=stopped.environment,
            capture_output=True,
            check=False,
        )
        assert with_database.returncode == 0, with_database.stderr

        done = chaos(stopped, "kill_child")
    finally:
        stopped.clean_up()

    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("gpuc chaos: the cluster is unavailable: ")


def test_without_the_reaper_a_hung_worker_fails_the_scorecard() -> None:
    with Cluster(gpus=2, source=source_without("no_reaper")) as cluster:
        code, cards = scorecards(cluster, "pause_worker")

    assert (code, cards["pause_worker"]["verdict"]) == (1, "fail"), cards
    assert "promised: detected within 10 s; never seen" in cards["pause_worker"]["reasons"]


def test_without_the_fence_a_late_result_fails_the_scorecard() -> None:
    with Cluster(gpus=2, source=source_without("no_fence")) as cluster:
        code, cards = scorecards(cluster, "pause_worker")

    assert (code, cards["pause_worker"]["verdict"]) == (1, "fail"), cards
    words = " ".join(cards["pause_worker"]["reasons"])
    assert "the verdict: ends_carry_current_attempt" in words, words
