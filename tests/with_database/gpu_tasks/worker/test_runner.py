"""A job that is run ends as what it was: its own result, its own failure; an outage is neither."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Final, NoReturn
from unittest.mock import patch

import pytest
from celery.exceptions import Ignore, Reject
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection
from django.utils import timezone

from gpu_tasks.faults.injection import InjectedError
from gpu_tasks.worker.commit import Commit
from gpu_tasks.worker.gate import Gate
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.runner import Runner
from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.witness import Saw, Witness
from scheduler.catalogue import catalogue
from scheduler.job_type import JobFailed
from scheduler.jobs import lifecycle
from scheduler.models import Allocation, ClusterEvent, Gpu, Job, JobEvent, Tally
from scheduler.rules.gpu import GpuFault, GpuLoad, GpuSample
from scheduler.rules.states import EventKind, JobState, Reason
from tests.build import queued, reread, story
from tests.unit.builders import a_sample

pytestmark = pytest.mark.usefixtures("gpus", "control")


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    witness = Witness(tmp_path / "witness", 0, "boot-0")
    commit = Commit(gpu=0, boot="boot-0", spool=Spool(tmp_path / "spool"), witness=witness)
    held = Held()
    gate = Gate(gpu=0, uuid=None, has_cuda=False, held=held, open_gpu=no_gpu)
    return Runner(gpu=0, boot="boot-0", held=held, commit=commit, witness=witness, gate=gate, has_cuda=False)


def no_gpu() -> NoReturn:
    raise AssertionError("no job here has CUDA")


@pytest.fixture
def run(runner: Runner) -> Callable[[Callable[[], Any]], Job]:
    """Runs a job with this body. Returns its row."""

    def run(body: Callable[[], Any]) -> Job:
        job = queued()
        with patch.object(type(catalogue()["sleep"]), "run", lambda *_: body()):
            try:
                runner.run(job.id, 1)
            except JobFailed:
                pass
            else:
                assert reread(job).state != JobState.FAILED
        assert runner.held.read() is None
        assert not Allocation.objects.exists()
        return reread(job)

    return run


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def body() -> NoReturn:
        raise error

    return body


# --- results


@pytest.mark.parametrize(
    ("result", "stored"),
    [
        ({"text": "a\0b"}, {"text": "a\\x00b"}),
        ({"a\0": [{"b": "\ud800"}]}, {"a\\x00": [{"b": "\\ud800"}]}),
        ({"emoji": "\ud83d\ude00"}, {"emoji": "😀"}),
        ({1: (2, 3)}, {"1": [2, 3]}),
        ({"big": 2**100, "small": 5e-324}, {"big": 2**100, "small": 5e-324}),
    ],
    ids=["NUL", "half pair", "whole pair", "not quite JSON", "numbers"],
)
def test_a_result_is_stored_with_what_no_database_stores_escaped(
    run: Callable[[Callable[[], Any]], Job], result: dict[Any, Any], stored: dict[str, Any]
) -> None:
    job = run(lambda: result)

    assert (job.state, job.result) == (JobState.SUCCEEDED, stored)


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    "result",
    [
        {"x": float("nan")},
        {"x": object()},
        {(1, 2): 3},
        {"x": "y" * 70_000},
        {"x": 10**5000},
        nested(5000),
        "text",
        None,
    ],
    ids=["NaN", "object", "key", "too large", "too many digits", "too deep", "not a dict", "nothing"],
)
def test_a_result_that_is_not_storable_fails_its_job_at_once(
    run: Callable[[Callable[[], Any]], Job], result: Any
) -> None:
    job = run(lambda: result)

    assert (job.state, job.reason, job.attempt, job.failures) == (JobState.FAILED, Reason.RESULT_INVALID, 1, 0)


# --- failures

KINDS: Final[list[tuple[str, BaseException, str]]] = [
    ("KeyboardInterrupt", KeyboardInterrupt(), "KeyboardInterrupt: "),
    ("CancelledError", asyncio.CancelledError("enough"), "CancelledError: enough"),
    ("GeneratorExit", GeneratorExit(), "GeneratorExit: "),
    ("SystemExit", SystemExit(3), "SystemExit: 3"),
    ("group", BaseExceptionGroup("many", [KeyboardInterrupt()]), "BaseExceptionGroup: many (1 sub-exception)"),
    ("NUL", ValueError("a\0b"), "ValueError: a\\x00b"),
    ("half pair", ValueError("a\ud800b"), "ValueError: a\\ud800b"),
    ("JobFailed", JobFailed("a\ud800\0"), "a\\ud800\\x00"),
    ("long", ValueError("x" * 100_000), "ValueError: xxx"),
]


@pytest.mark.parametrize(("error", "words"), [kind[1:] for kind in KINDS], ids=[kind[0] for kind in KINDS])
def test_whatever_a_job_raises_is_its_own_failure(
    run: Callable[[Callable[[], Any]], Job], error: BaseException, words: str
) -> None:
    job = run(raising(error))

    assert (job.state, job.reason, job.attempt, job.failures) == (JobState.FAILED, Reason.JOB_ERROR, 1, 0)
    assert job.error.startswith(words)


@pytest.mark.parametrize("second", [RuntimeError("no words"), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_an_exception_without_words_is_reported_by_its_class(
    run: Callable[[Callable[[], Any]], Job], second: BaseException
) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise second

    job = run(raising(Mute()))

    assert (job.state, job.reason) == (JobState.FAILED, Reason.JOB_ERROR)
    assert job.error == f"Mute: its message cannot be read, since __str__ raised {type(second).__name__}"


# --- faults of the hardware


class CUDARuntimeError(RuntimeError):
    """As CuPy's: the message begins with CUDA's name of the error."""


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


ECC_ERROR = CUDARuntimeError("cudaErrorECCUncorrectable: uncorrectable ECC error encountered")


@dataclass
class FakeGpu:
    """A real GPU for the gate, whose reports follow a list; the last one stays."""

    faults: list[GpuFault | None]

    def identity(self) -> NoReturn:
        raise NotImplementedError

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        fault = self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]
        return a_sample(last_fault=fault, memory_used_mib=0)


def with_gpu(runner: Runner, *faults: GpuFault | None) -> Runner:
    """A runner on a real GPU that reports these faults, the first one before the job."""
    gpu = FakeGpu(list(faults))
    gate = Gate(gpu=0, uuid=None, has_cuda=True, held=runner.held, open_gpu=lambda: gpu)
    return replace(runner, has_cuda=True, gate=gate)


def run_on(runner: Runner, error: BaseException) -> Job:
    job = queued()
    with patch.object(type(catalogue()["sleep"]), "run", side_effect=error), pytest.raises(JobFailed):
        runner.run(job.id, 1)
    assert not Allocation.objects.exists()
    return reread(job)


@pytest.mark.parametrize(
    "error",
    [
        ECC_ERROR,
        caused(ValueError("no result"), ECC_ERROR),
        caused(JobFailed("no result"), ECC_ERROR),
        BaseExceptionGroup("two", [ValueError(), ECC_ERROR]),
        RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be reported later"),
    ],
    ids=["CuPy", "as the cause", "as the cause of the job's word", "in a group", "PyTorch"],
)
def test_a_cuda_error_of_the_hardware_requeues_the_job_and_quarantines_the_gpu(
    runner: Runner, error: BaseException
) -> None:
    job = run_on(with_gpu(runner, None), error)

    assert (job.state, job.attempt, job.failures) == (JobState.QUEUED, 2, 1)
    event = JobEvent.objects.get(job=job, kind="requeued")
    assert (event.reason, event.gpu) == (Reason.GPU_FAULT, 0)
    words = "GPU fault: CUDA reports cudaErrorECCUncorrectable"
    assert Gpu.objects.get(index=0).quarantined == words
    assert ClusterEvent.objects.get(kind="quarantined").message == f"GPU 0 quarantined: {words}"
    assert runner.held.is_spent(os.getpid())


XID_79 = GpuFault(number=1, words="Xid 79: the GPU has fallen off the bus")


def test_nvml_decides_on_an_error_that_a_job_may_cause_itself(runner: Runner) -> None:
    error = CUDARuntimeError("cudaErrorLaunchFailure: unspecified launch failure")

    # NVML's report comes a moment after CUDA's.
    job = run_on(with_gpu(runner, None, None, XID_79), error)

    assert (job.state, job.reason) == (JobState.QUEUED, Reason.GPU_FAULT)
    assert Gpu.objects.get(index=0).quarantined == f"GPU fault: {XID_79.words}"


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ([None], CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")),
        ([XID_79], CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")),
        ([None], ValueError("wrong")),
        ([None, XID_79], InjectedError("injected")),
    ],
    ids=["the job's own", "an old fault of the GPU", "not of CUDA", "injected"],
)
def test_a_failure_that_nothing_of_the_gpu_explains_is_the_jobs_own(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, faults: list[GpuFault | None], error: BaseException
) -> None:
    monkeypatch.setattr("gpu_tasks.worker.gate.FAULT_SECONDS", 0.05)

    job = run_on(with_gpu(runner, *faults), error)

    assert job.state == JobState.FAILED
    assert Gpu.objects.get(index=0).quarantined == ""


def test_a_gpu_that_cannot_be_checked_returns_its_hints_and_says_why(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    job, failing = queued(), with_gpu(runner, None)

    with (
        patch.object(Gate, "closed_because", side_effect=ValueError("badly formed UUID")),
        pytest.raises(Reject) as found,
    ):
        failing.run(job.id, 1)

    assert found.value.reason == "it cannot be checked: ValueError: badly formed UUID"
    assert reread(job).state == JobState.QUEUED
    assert "gpu_not_checked" in [record.message for record in caplog.records]


def test_cuda_that_does_not_answer_quarantines_the_gpu(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_tasks.worker.gate.CUDA_ANSWER_SECONDS", 0.05)
    released = Event()
    monkeypatch.setattr("gpu_tasks.processes.cuda.device_uuid_bytes", lambda: released.wait(60))
    gate = replace(with_gpu(runner, None).gate, uuid="GPU-12345678-9abc-def0-0011-223344556677")

    assert gate.closed_because() == "CUDA: it has not answered for 0 s"

    assert Gpu.objects.get(index=0).quarantined == "CUDA: it has not answered for 0 s"
    released.set()


def test_on_a_simulated_gpu_no_message_is_a_fault_of_the_hardware(runner: Runner) -> None:
    job = run_on(runner, ECC_ERROR)

    assert (job.state, job.reason) == (JobState.FAILED, Reason.JOB_ERROR)


# --- the database


@pytest.mark.parametrize("error", [OperationalError("unavailable"), InterfaceError("closed")], ids=repr)
def test_a_hint_is_returned_while_the_database_is_unavailable(runner: Runner, error: Exception) -> None:
    job = queued()

    with patch("scheduler.jobs.lifecycle.claim", side_effect=error), pytest.raises(Reject):
        runner.run(job.id, 1)

    assert reread(job).state == JobState.QUEUED


def test_a_hint_whose_claim_can_never_succeed_does_not_block_its_queue(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    job = queued()

    with patch("scheduler.jobs.lifecycle.claim", side_effect=DataError("never")), pytest.raises(Ignore):
        runner.run(job.id, 1)

    assert [record.message for record in caplog.records] == ["hint_dropped"]


@pytest.mark.parametrize("error", [OperationalError("unavailable"), InterfaceError("closed")], ids=repr)
def test_an_outage_while_a_fault_is_planned_does_not_fail_the_job(
    run: Callable[[Callable[[], Any]], Job], error: Exception
) -> None:
    with patch("gpu_tasks.worker.runner.fault_for", side_effect=error):
        job = run(dict)

    assert job.state == JobState.SUCCEEDED


@pytest.mark.parametrize("error", [OperationalError("unavailable"), InterfaceError("closed")], ids=repr)
def test_a_result_waits_for_an_unavailable_database(runner: Runner, error: Exception) -> None:
    job = queued()

    with patch("scheduler.jobs.lifecycle.end", side_effect=error):
        runner.run(job.id, 1)
    runner.commit.commit_kept()

    assert reread(job).state == JobState.SUCCEEDED


def test_a_result_that_only_the_database_refuses_ends_its_job_with_the_reason(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    job = queued()
    if connection.vendor == "sqlite":
        result = patch("gpu_tasks.worker.runner.storable_json", lambda _: {"x": float("nan")})
    else:
        result = patch("gpu_tasks.worker.runner.storable_json", lambda _: {"x": "a\0b"})

    with result:
        runner.run(job.id, 1)

    found = reread(job)
    assert (found.state, found.reason, found.attempt) == (JobState.FAILED, Reason.RESULT_INVALID, 1)
    assert found.error.startswith("the database cannot store how the job ended (succeeded): ")
    assert runner.commit.spool.keys() == ()
    assert "result_not_storable" in [record.message for record in caplog.records]


# --- what fails around a job is not the job's


class FullDisk:
    """For the witness: refuses some notes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *refused: Saw) -> None:
        written = Witness.saw

        def saw(witness: Witness, what: Saw, *rest: Any, **more: str) -> None:
            if what in refused:
                raise OSError(errno.ENOSPC, "No space left on device")
            written(witness, what, *rest, **more)

        monkeypatch.setattr(Witness, "saw", saw)


def test_a_note_that_cannot_be_written_after_the_claim_changes_nothing(
    run: Callable[[Callable[[], Any]], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, Saw.STARTED, Saw.ENDED)

    job = run(lambda: {"done": True})

    assert (job.state, job.result, job.failures) == (JobState.SUCCEEDED, {"done": True}, 0)
    assert [event[1] for event in story(job)] == ["submitted", "started", "succeeded"]
    assert not Tally.objects.filter(word="commit_refused").exists()


def test_without_the_note_of_its_claim_a_job_waits_for_another_gpu(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued()
    FullDisk(monkeypatch, Saw.CLAIMING)

    with pytest.raises(Reject, match="its witness cannot be written"):
        runner.run(job.id, 1)

    assert runner.held.read() is None
    assert (reread(job).state, reread(job).attempt, reread(job).failures) == (JobState.QUEUED, 1, 0)


def test_a_conflict_that_is_not_about_the_gpu_does_not_call_it_busy(runner: Runner) -> None:
    job = queued()
    JobEvent.objects.create(job=job, n=2, kind=EventKind.STARTED, at=timezone.now(), attempt=1)

    with pytest.raises(IntegrityError):
        lifecycle.claim(job.id, 1, gpu=0, boot="boot-0")
    with pytest.raises(Ignore):
        runner.run(job.id, 1)

    assert runner.held.read() is None
    assert not Allocation.objects.exists()
    assert (reread(job).state, reread(job).attempt, reread(job).failures) == (JobState.QUEUED, 1, 0)
