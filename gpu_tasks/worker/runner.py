"""In the job process: claim, run, finish or fail."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

from celery.exceptions import Ignore, Reject

from gpu_tasks.faults.injection import InjectedError, fault_for, striking
from gpu_tasks.processes import job_processes
from gpu_tasks.processes.fork_guard import forks_end_here
from gpu_tasks.processes.start_state import StartState
from gpu_tasks.worker.commit import Commit, Ending
from gpu_tasks.worker.gate import Gate
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.witness import Saw, Witness
from scheduler.catalogue import catalogue
from scheduler.database_errors import DatabaseFailure, is_unavailable
from scheduler.job_type import (
    DeviceMemoryExhausted,
    JobContext,
    JobFailed,
    ParamsInvalid,
    ResultInvalid,
    UnknownJobType,
    parse_stored_params,
)
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import ERROR_LENGTH, Claimed
from scheduler.logs import event_logger
from scheduler.rules.faults import FaultKind, PlannedFault, cuda_fault, names_cuda
from scheduler.rules.placement import ClaimRefusal
from scheduler.rules.states import JobState, Reason
from scheduler.storable import error_text, storable_json, storable_text

log = event_logger(__name__)

#: A job's result as JSON, in bytes.
RESULT_MAXIMUM_BYTES: Final = 64 * 1024

#: The reason in the job's row for an exception of its body; the first that matches.
REASONS: Final[tuple[tuple[type[BaseException], Reason], ...]] = (
    (InjectedError, Reason.INJECTED_ERROR),
    (DeviceMemoryExhausted, Reason.OUT_OF_MEMORY),
    (MemoryError, Reason.OUT_OF_MEMORY),
    (ResultInvalid, Reason.RESULT_INVALID),
    (UnknownJobType, Reason.UNKNOWN_TYPE),
    (BaseException, Reason.JOB_ERROR),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """One for each worker; made before the job process is forked."""

    gpu: int
    boot: str
    held: Held
    commit: Commit
    witness: Witness
    gate: Gate
    has_cuda: bool
    start_state: StartState = field(default_factory=StartState)

    def run(self, job_id: int, attempt: int) -> None:
        """Follows one hint. Raises Ignore to drop it, Reject to return it for another worker, JobFailed if the job
        failed (so that Flower shows it)."""
        self._pass_gate(job_id, attempt)
        self.held.claiming(job_id, attempt)
        try:
            ending = self._run(self._claim(job_id, attempt))
            self._clean_up(ending)
            self.commit.commit_or_keep(ending)
        finally:
            self.held.release()
        if self.start_state.is_cut_off():
            # All is committed. The worker finds that this process has ended, not that it is silent.
            log.warning(
                "job_process_ended", job=job_id, attempt=attempt, gpu=self.gpu, reason="the job closed its pipes"
            )
            os._exit(1)
        if ending.state is not JobState.SUCCEEDED:
            raise JobFailed(f"{ending.reason}: {ending.error}")

    def _pass_gate(self, job_id: int, attempt: int) -> None:
        try:
            reason = self.gate.closed_because()
        except DatabaseFailure as error:
            reason = f"{type(error).__name__}: {error}"
        except Exception as error:
            # Of what looks at the GPU: the job has not begun, and another GPU may run it.
            log.exception("gpu_not_checked", gpu=self.gpu)
            reason = f"it cannot be checked: {type(error).__name__}: {error}"
        if reason is not None:
            raise _return_hint(job_id, attempt, reason)
        self.gate.passed()

    def _clean_up(self, ending: Ending) -> None:
        """Before the result is committed: who reads it finds the GPU free. What cannot be undone in this process, such
        as CUDA after an error, would harm the next job: then the main process replaces this one."""
        lost = ["processes"] if job_processes.end_own_children() else []
        lost += self.start_state.restore()
        if self.has_cuda and ending.state is not JobState.SUCCEEDED:
            lost.append("CUDA")
        if lost:
            log.info("job_process_spent", job=ending.job_id, gpu=self.gpu, left=", ".join(lost))
            self.held.spend()

    def _claim(self, job_id: int, attempt: int) -> Claimed:
        try:
            self.witness.saw(Saw.CLAIMING, job_id, attempt)
            claimed = lifecycle.claim(job_id, attempt, gpu=self.gpu, boot=self.boot)
        except OSError as error:
            # A start without its witness could never be proved. Nothing is claimed yet: it may run on another GPU.
            self.held.release()
            raise _return_hint(job_id, attempt, f"its witness cannot be written: {error}") from error
        except DatabaseFailure as error:
            self.held.release()
            reason = f"{type(error).__name__}: {error}"
            if is_unavailable(error):
                raise _return_hint(job_id, attempt, reason) from error
            # In front of its queue it would keep every GPU from the jobs behind it. The relay sends it again, later.
            log.error("hint_dropped", job=job_id, attempt=attempt, reason=reason)
            raise Ignore from error
        if isinstance(claimed, Claimed):
            self.witness.note(Saw.STARTED, job_id, attempt)
            return claimed
        self.held.release()
        if claimed is ClaimRefusal.STALE:
            log.debug("hint_dropped", job=job_id, attempt=attempt, reason=claimed)
            raise Ignore
        if claimed is ClaimRefusal.TOO_BIG:
            # It was in the wrong queue; the relay sends it to the right one.
            log.info("hint_dropped", job=job_id, attempt=attempt, reason=claimed)
            raise Ignore
        raise _return_hint(job_id, attempt, claimed)

    def _run(self, claimed: Claimed) -> Ending:
        self.held.running(
            claimed.job_id,
            claimed.attempt,
            time_limit_seconds=claimed.time_limit_seconds,
            memory_mib=claimed.gpu_memory_mib,
            load=claimed.load,
        )
        try:
            # Inside: else a fork of the job would meet the fault that is planned for the job.
            with striking(self._fault(claimed), self.gpu, partial(self._note_strike, claimed)), forks_end_here():
                result = self._result(claimed)
        except BaseException as error:  # noqa: BLE001 (a job's body may raise anything: this process runs on)
            return self._failed(claimed, error)
        return Ending(job_id=claimed.job_id, attempt=claimed.attempt, state=JobState.SUCCEEDED, result=result)

    def _failed(self, claimed: Claimed, error: BaseException) -> Ending:
        fault = self._gpu_fault(error) if self.has_cuda and not isinstance(error, InjectedError) else None
        if fault is None:
            return _failed(claimed, error)
        log.error("gpu_failed", job=claimed.job_id, attempt=claimed.attempt, gpu=self.gpu, fault=fault)
        return Ending(
            job_id=claimed.job_id,
            attempt=claimed.attempt,
            state=JobState.QUEUED,
            reason=Reason.GPU_FAULT,
            error=fault,
        )

    def _gpu_fault(self, error: BaseException) -> str | None:
        """What shows that the GPU failed, not the job, in words; None if nothing does."""
        messages = [error_text(each) for each in _chain(error)]
        if (name := cuda_fault(messages)) is not None:
            return f"CUDA reports {name}"
        return self.gate.gpu_fault_since(is_cuda_error=any(map(names_cuda, messages)))

    def _fault(self, claimed: Claimed) -> PlannedFault | None:
        """None also while the database is unavailable: an outage is no failure of the job."""
        try:
            return fault_for(claimed, self.gpu)
        except DatabaseFailure as error:
            log.warning("fault_not_planned", job=claimed.job_id, attempt=claimed.attempt, error=error)
            return None

    def _note_strike(self, claimed: Claimed, kind: FaultKind) -> None:
        self.witness.note(Saw.STRIKE, claimed.job_id, claimed.attempt, kind=kind)

    def _result(self, claimed: Claimed) -> dict[str, Any]:
        job_type = catalogue()[claimed.type]
        context = JobContext(
            job_id=claimed.job_id,
            attempt=claimed.attempt,
            gpu_index=self.gpu,
            has_cuda=self.has_cuda,
            progress=self.held.progress,
            seed=Random(f"job:{claimed.job_id}:{claimed.attempt}").getrandbits(63),
        )
        with self.start_state.job(context.seed):
            return _checked(job_type.run(parse_stored_params(job_type, claimed.params), context))


def _return_hint(job_id: int, attempt: int, reason: str) -> Reject:
    """To the front of its queue; worker.tasks.HintRequest shuts the valve first."""
    log.info("hint_returned", job=job_id, attempt=attempt, reason=reason)
    return Reject(reason, requeue=True)


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    """The result as every database stores it, or ResultInvalid."""
    if not isinstance(result, dict):
        raise ResultInvalid(f"a job returns a dict, not {type(result).__name__}")
    try:
        text = json.dumps(result, allow_nan=False)
        if len(text) > RESULT_MAXIMUM_BYTES:
            raise ResultInvalid(f"the result has {len(text)} bytes; at most {RESULT_MAXIMUM_BYTES} are kept")
        plain: dict[str, Any] = storable_json(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultInvalid(f"the result is not JSON: {error}") from None
    return plain


def _failed(claimed: Claimed, error: BaseException) -> Ending:
    reason = next(reason for kind, reason in REASONS if isinstance(error, kind))
    words = error_text(error)
    if not isinstance(error, (JobFailed, ParamsInvalid)):
        words = f"{type(error).__name__}: {words}"
    return Ending(
        job_id=claimed.job_id,
        attempt=claimed.attempt,
        state=JobState.FAILED,
        reason=reason,
        error=storable_text(words[:ERROR_LENGTH]),
    )


def _chain(error: BaseException) -> list[BaseException]:
    """The error, those that led to it, and those of a group."""
    found: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop(0)
        # By identity: an exception of the job may compare in any way.
        if each is None or any(each is seen for seen in found):
            continue
        found.append(each)
        left += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions
    return found
