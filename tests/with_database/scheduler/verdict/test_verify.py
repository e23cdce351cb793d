"""The verdict on logs that the product wrote, and on logs that somebody changed; on both databases."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from gpu_tasks.faults.injection import record
from gpu_tasks.worker.witness import Saw, Witness
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Claimed
from scheduler.models import ClusterEvent, Job, JobEvent, Tally
from scheduler.rules.faults import FaultKind
from scheduler.rules.states import JobState, Reason
from scheduler.verdict import findings
from scheduler.verdict import judge as judge_module
from scheduler.verdict.findings import VerdictOutcome
from scheduler.verdict.judge import judge
from scheduler.verdict.report import rule_names
from tests.build import make_due, queued, reread
from tests.with_database import cli

pytestmark = pytest.mark.usefixtures("gpus")


class Run:
    """Drives jobs through the product's lifecycle, with a worker's witness beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "witness"
        self.witnesses = [Witness(self.folder, gpu, f"boot-{gpu}") for gpu in range(3)]

    def start(self, job: Job, gpu: int) -> None:
        make_due(job)
        attempt = reread(job).attempt
        self.witnesses[gpu].saw(Saw.CLAIMING, job.id, attempt)
        assert isinstance(lifecycle.claim(job.id, attempt, gpu=gpu, boot=f"boot-{gpu}"), Claimed)
        self.witnesses[gpu].saw(Saw.STARTED, job.id, attempt)

    def finish(self, job: Job, attempt: int, gpu: int) -> None:
        accepted = lifecycle.end(job.id, attempt, JobState.SUCCEEDED)
        self.witnesses[gpu].saw(Saw.ENDED if accepted else Saw.REFUSED, job.id, attempt)


@pytest.fixture
def run(state_dir):
    """Four jobs: one that lost its worker and ran again, one that waits, one that was cancelled, one that runs."""
    run = Run(state_dir)
    lost, waiting, cancelled, runs = queued(), queued(), queued(), queued()
    run.start(lost, 0)
    run.witnesses[0].saw(Saw.STRIKE, lost.id, 1)
    lifecycle.requeue(lost.id, 1, Reason.WORKER_DIED)
    run.start(lost, 1)
    run.finish(lost, 1, 0)
    run.finish(lost, 2, 1)
    lifecycle.cancel(cancelled.id, actor="a test")
    run.start(runs, 2)
    run.lost, run.waiting, run.cancelled, run.runs = lost, waiting, cancelled, runs
    return run


def execute(statement: str, *params) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def let_news_settle(run: Run) -> None:
    """The witnesses told it all a while ago."""
    for path in run.folder.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**line, "at": line["at"] - 60}) + "\n" for line in lines))


def test_a_good_run_passes_and_is_measured(run):
    verdict = judge(run.folder)

    assert verdict.outcome is VerdictOutcome.HOLDS, verdict.as_dict()
    assert (verdict.jobs, verdict.starts, verdict.refused_commits) == (4, 3, 1)
    assert dict(verdict.requeues) == {"worker_died": 1}
    assert len(verdict.recovery_seconds) == len(verdict.detection_seconds) == 1


@pytest.mark.parametrize(
    ("rule", "statement"),
    [
        ("row_agrees", "UPDATE scheduler_job SET state = 'queued', finished_at = NULL WHERE id = {lost}"),
        ("row_agrees", "UPDATE scheduler_job SET attempt = 5 WHERE id = {waiting}"),
        ("charges_within_limit", "UPDATE scheduler_job SET failures = 0 WHERE id = {lost}"),
        ("numbers_gapless", "DELETE FROM scheduler_jobevent WHERE job_id = {lost} AND n = 3"),
        ("numbers_gapless", "DELETE FROM scheduler_jobevent WHERE job_id = {lost} AND kind = 'succeeded'"),
        ("accepted_once", "DELETE FROM scheduler_jobevent WHERE job_id = {waiting}"),
        ("counts_add_up", "DELETE FROM scheduler_jobevent WHERE job_id = {cancelled}"),
        ("counts_add_up", "UPDATE scheduler_tally SET n = n + 1 WHERE word = 'succeeded'"),
        ("counts_add_up", "UPDATE scheduler_tally SET n = n + 1 WHERE word = 'submitted'"),
        ("known_kinds", "UPDATE scheduler_jobevent SET kind = 'vanished' WHERE job_id = {lost} AND n = 3"),
        ("ends_carry_current_attempt", "UPDATE scheduler_jobevent SET attempt = 1 WHERE job_id = {lost} AND n = 5"),
        ("one_job_for_each_gpu", "UPDATE scheduler_jobevent SET gpu = 1 WHERE job_id = {runs} AND n = 2"),
    ],
)
def test_a_change_by_hand_is_found(run, rule, statement):
    if rule == "counts_add_up" and "DELETE" in statement:
        execute("DELETE FROM scheduler_jobevent WHERE job_id = %s", run.cancelled.id)
        execute("DELETE FROM scheduler_job WHERE id = %s", run.cancelled.id)
    elif rule == "one_job_for_each_gpu":
        # Before the other job let go of GPU 1.
        execute("UPDATE scheduler_jobevent SET gpu = 2 WHERE job_id = %s AND gpu = 1", run.lost.id)
        execute("UPDATE scheduler_jobevent SET id = -id WHERE job_id = %s AND n = 2", run.runs.id)
    else:
        ids = {name: getattr(run, name).id for name in ("lost", "waiting", "cancelled", "runs")}
        execute(statement.format(**ids))
    let_news_settle(run)

    verdict = judge(run.folder)

    assert verdict.outcome is VerdictOutcome.BROKEN
    assert rule in verdict.broken, verdict.as_dict()


def test_an_ending_wiped_from_row_and_log_is_known_by_its_witness(run):
    """The forger kept every number in order; only the worker knows better."""
    execute("DELETE FROM scheduler_jobevent WHERE job_id = %s AND kind = 'succeeded'", run.lost.id)
    execute(
        "UPDATE scheduler_job SET state = 'running', finished_at = NULL, event_count = 4 WHERE id = %s", run.lost.id
    )
    execute("UPDATE scheduler_tally SET n = n - 1 WHERE word = 'succeeded'")
    execute("UPDATE scheduler_tally SET n = n + 1 WHERE word = 'running' AND shard = 1")
    let_news_settle(run)

    verdict = judge(run.folder)

    assert "witness_agrees" in verdict.broken


def test_a_job_wiped_altogether_is_known_by_its_witness(run):
    execute("DELETE FROM scheduler_jobevent WHERE job_id = %s", run.lost.id)
    execute("DELETE FROM scheduler_job WHERE id = %s", run.lost.id)
    execute("UPDATE scheduler_tally SET n = n - 1 WHERE word = 'succeeded'")
    execute("UPDATE scheduler_tally SET n = n - 1 WHERE word = 'submitted' AND shard = -1")
    let_news_settle(run)

    assert "witness_agrees" in judge(run.folder).broken


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_looked_at_in_ranges_the_verdict_is_the_same(run, monkeypatch, at_once):
    whole = judge(run.folder).as_dict()
    monkeypatch.setattr(judge_module, "JOBS_AT_ONCE", at_once)

    assert judge(run.folder).as_dict() == whole

    for job in (run.lost, run.runs):
        execute("DELETE FROM scheduler_jobevent WHERE job_id = %s", job.id)
        execute("DELETE FROM scheduler_allocation WHERE job_id = %s", job.id)
        execute("DELETE FROM scheduler_job WHERE id = %s", job.id)
    let_news_settle(run)
    told_of = {breach.job for breach in judge(run.folder).breaches if breach.rule == "witness_agrees"}
    # The first and the last job are gone, from the edges of the first and the last range.
    assert told_of == {run.lost.id, run.runs.id}


def test_a_death_that_no_fault_explains_is_counted(run):
    """The job of the run above lost its worker to a fault that struck; this one just so."""
    assert judge(run.folder).unexplained_deaths == 0
    lifecycle.requeue(run.runs.id, 1, Reason.WORKER_DIED)
    run.start(run.runs, 2)
    lifecycle.requeue(run.runs.id, 2, Reason.SHUTDOWN)

    verdict = judge(run.folder)

    assert (verdict.outcome, verdict.unexplained_deaths) == (VerdictOutcome.HOLDS, 1)


def test_a_death_that_somebody_ordered_is_explained(run):
    record(FaultKind.WORKER_KILLED, 2, actor="ada")
    lifecycle.requeue(run.runs.id, 1, Reason.WORKER_DIED)

    assert judge(run.folder).unexplained_deaths == 0

    # The order was for that attempt, not for the next one.
    run.start(run.runs, 2)
    lifecycle.requeue(run.runs.id, 2, Reason.WORKER_DIED)
    assert judge(run.folder).unexplained_deaths == 1


@pytest.mark.parametrize("ended", [True, False])
def test_a_death_during_a_chaos_scenario_is_explained(run, ended):
    ClusterEvent.objects.create(kind="chaos_began", actor="chaos", message="chaos scenario kill_broker begins")
    lifecycle.requeue(run.runs.id, 1, Reason.CHILD_DIED)
    if ended:
        ClusterEvent.objects.create(kind="chaos_ended", actor="chaos", message="chaos scenario kill_broker has ended")

    assert judge(run.folder).unexplained_deaths == 0

    run.start(run.runs, 2)
    lifecycle.requeue(run.runs.id, 2, Reason.CHILD_DIED)
    assert judge(run.folder).unexplained_deaths == ended


def test_the_death_of_a_job_that_fails_on_purpose_is_explained(run):
    job = queued(type="fault_injection", params={})
    run.start(job, 0)
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)

    assert judge(run.folder).unexplained_deaths == 0


def test_starts_without_a_witness_are_all_counted(run, monkeypatch):
    monkeypatch.setattr(findings, "BREACHES_KEPT", 1)
    for path in run.folder.glob("*.jsonl"):
        path.unlink()

    verdict = judge(run.folder)

    assert (verdict.starts, verdict.starts_without_witness, len(verdict.gaps)) == (3, 3, 1)


def test_an_empty_log_is_never_a_pass(state_dir):
    assert judge(state_dir / "witness").outcome is VerdictOutcome.CANNOT_TELL


def test_a_start_without_a_witness_is_never_a_pass(run):
    (run.folder / "gpu-1.jsonl").unlink()

    verdict = judge(run.folder)

    assert verdict.outcome is VerdictOutcome.CANNOT_TELL
    assert "no witness of its start at attempt 2 on GPU 1" in verdict.gaps[0]


def test_a_witness_line_cut_off_by_a_power_cut_is_left_out(run):
    with (run.folder / "gpu-0.jsonl").open("a") as file:
        file.write('{"at": 1.0, "saw": "cla')

    assert judge(run.folder).outcome is VerdictOutcome.HOLDS


def test_news_younger_than_the_snapshot_is_no_breach(run):
    run.witnesses[0].saw(Saw.STARTED, run.waiting.id, 1)

    assert judge(run.folder).outcome is VerdictOutcome.HOLDS


def test_a_start_past_a_more_urgent_job_is_counted(run):
    urgent, plain = queued(priority="critical"), queued(priority="low")
    JobEvent.objects.filter(job=urgent).update(at=urgent.submitted_at - timedelta(seconds=30))

    run.start(plain, 0)

    assert judge(run.folder).priority_inversions == 1


@pytest.mark.parametrize(
    ("plain", "urgent", "aged", "inversions"),
    [("low", "high", 1, 0), ("low", "critical", 0, 1), ("normal", "normal", 0, 0)],
)
def test_a_start_that_ageing_allows_is_counted_apart_from_inversions(run, plain, urgent, aged, inversions):
    old, other = queued(priority=plain), queued(priority=urgent)
    JobEvent.objects.filter(job=old).update(at=old.submitted_at - timedelta(seconds=121))
    JobEvent.objects.filter(job=other).update(at=other.submitted_at - timedelta(seconds=30))

    run.start(old, 0)

    verdict = judge(run.folder)
    assert (verdict.aged_starts, verdict.priority_inversions) == (aged, inversions)
    assert judge(run.folder, ageing_seconds=100).aged_starts == 0


def test_a_requeued_job_ages_from_its_requeue_on(run):
    old, urgent = queued(priority="normal"), queued(priority="high")
    run.start(old, 0)
    lifecycle.requeue(old.id, 1, Reason.OPERATOR)
    JobEvent.objects.filter(job=old, kind="submitted").update(at=old.submitted_at - timedelta(seconds=121))
    JobEvent.objects.filter(job=urgent).update(at=urgent.submitted_at - timedelta(seconds=30))
    before = judge(run.folder)

    run.start(old, 0)

    after = judge(run.folder)
    assert (after.aged_starts, after.priority_inversions) == (before.aged_starts, before.priority_inversions + 1)


def test_only_newer_jobs_are_judged_where_asked(run):
    execute("UPDATE scheduler_job SET failures = 2 WHERE id = %s", run.lost.id)

    assert judge(run.folder).outcome is VerdictOutcome.BROKEN
    assert judge(run.folder, first_job=run.lost.id + 1).outcome is VerdictOutcome.HOLDS


# --- the command


def verify(*args: str) -> tuple[int, str]:
    ran = cli.run("verify", *args)
    assert ran.err == ""
    return ran.code, ran.out


def test_the_command_says_pass_and_exits_with_0(run):
    code, words = verify()

    assert (code, words.splitlines()[0]) == (0, "PASS: no job was lost, none was recorded twice")


def test_the_command_tells_the_job_and_exits_with_1(run, tmp_path):
    Tally.objects.filter(word="succeeded").update(n=7)
    execute("UPDATE scheduler_job SET attempt = 5 WHERE id = %s", run.waiting.id)

    code, words = verify("--junit", str(tmp_path / "j.xml"), "--html", str(tmp_path / "h.html"))

    assert code == 1
    assert f"job {run.waiting.id}: row_agrees: the row is at attempt 5 after 0 requeues" in words
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (int(suite.get("tests")), int(suite.get("failures"))) == (len(rule_names()), 2)
    assert "FAIL: the contract is broken" in (tmp_path / "h.html").read_text()


def test_the_command_gives_json(run):
    code, words = verify("--json", "--since", "1h")

    assert code == 0
    assert json.loads(words)["outcome"] == "holds"


def test_an_age_that_is_none_is_refused_with_words(run):
    with pytest.raises(CommandError, match="'yesterday' is neither an ISO time nor an age"):
        call_command("verify", "--since", "yesterday")


# --- the witnesses of other hosts


@pytest.fixture
def second_host(run, tmp_path):
    """Where the witness of GPU 1 lies; it is missing here."""
    folder = tmp_path / "host-2"
    folder.mkdir()
    (run.folder / "gpu-1.jsonl").rename(folder / "gpu-1.jsonl")
    return folder


def test_with_the_witness_of_another_host_the_verdict_is_that_of_one_host(run, second_host):
    with_it = json.loads(verify("--json", "--witness", str(second_host))[1])

    assert with_it["witness_folders"] == [str(run.folder), str(second_host)]
    assert verify("--json")[0] == VerdictOutcome.CANNOT_TELL
    (second_host / "gpu-1.jsonl").rename(run.folder / "gpu-1.jsonl")
    assert with_it == {**json.loads(verify("--json")[1]), "witness_folders": with_it["witness_folders"]}


def test_a_copy_of_what_is_there_already_counts_nothing_twice(run, tmp_path):
    """A late result was refused: one."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in run.folder.glob("*.jsonl"):
        (copy / path.name).write_bytes(path.read_bytes())

    found = json.loads(verify("--json", "--witness", str(copy), "--witness", str(run.folder))[1])

    assert found["witness_folders"] == [str(run.folder), str(copy)]
    assert (found["testimonies"], found["refused_commits"]) == (judge(run.folder).testimonies, 1)


def test_the_witness_of_another_host_comes_as_a_tar_on_standard_input(run, second_host, monkeypatch):
    give_standard_input(monkeypatch, a_tar_of(second_host))

    code, words = verify("--json", "--witness", "-")

    assert (code, json.loads(words)["witness_folders"]) == (0, [str(run.folder), "-"])


def test_a_tar_that_is_none_is_refused_with_words_and_changes_nothing(run, tmp_path, monkeypatch):
    give_standard_input(monkeypatch, b"ssh: connect to host host-2 port 22: Connection refused\n")

    with pytest.raises(CommandError, match=r"--witness -: it cannot be read as a tar.* accepts a folder") as refused:
        call_command("verify", "--witness", "-", "--html", str(tmp_path / "h.html"))

    assert refused.value.returncode == 2
    assert not (tmp_path / "h.html").exists()


def test_a_folder_without_witnesses_is_refused_with_words(run, tmp_path):
    with pytest.raises(CommandError, match=f"--witness: {tmp_path} has no witness file .* accepts a folder"):
        call_command("verify", "--witness", str(tmp_path))


def test_a_witness_file_that_no_worker_wrote_is_refused_with_its_name(run, second_host):
    (second_host / "gpu-1.jsonl").write_text('{"job": 1}\n')

    with pytest.raises(CommandError, match=r"host-2/gpu-1\.jsonl has a line that no worker wrote") as refused:
        call_command("verify", "--witness", str(second_host))

    assert refused.value.returncode == 2


def a_tar_of(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(folder, "witness")
    return stream.getvalue()


def give_standard_input(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
