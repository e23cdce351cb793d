"""Every ending of a job on this GPU goes through here: result, failure, and each cause of a requeue.

It is committed if the fence allows it. While the database is unavailable it is kept on the spool's shelf, and committed
later. A result that the database can never store ends its job as failed. The worker's witness notes what became of a
result.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from gpu_tasks.worker.quarantine import quarantine_broken
from gpu_tasks.worker.spool import Key, Spool
from gpu_tasks.worker.witness import Saw, Witness
from scheduler.database_errors import NeverStored, is_unavailable
from scheduler.jobs import lifecycle
from scheduler.logs import event_logger
from scheduler.rules.states import CHARGED_REASONS, JobState, Reason
from scheduler.storable import storable_text

log = event_logger(__name__)

#: Between two attempts to write a result, where both the database and the disk are full.
AGAIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one attempt ended. State queued: the job is requeued, for this reason and with the error as its detail."""

    job_id: int
    attempt: int
    state: JobState
    reason: Reason | None = None
    error: str = ""
    result: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.job_id, self.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One for each worker; its job process inherits it."""

    gpu: int
    boot: str
    spool: Spool
    witness: Witness

    def commit_or_keep(self, ending: Ending) -> bool:
        """Whether it was committed now: False if it was refused, or is kept.

        Where a full disk accepts neither this waits: the worker holds the job meanwhile.
        """
        said = False
        while True:
            try:
                return self._commit_or_keep(ending)
            except OSError as error:
                if not said:
                    log.warning("result_waits_for_disk", job=ending.job_id, attempt=ending.attempt, error=error)
                said = True
                time.sleep(AGAIN_SECONDS)

    def requeue(self, job_id: int, attempt: int, reason: Reason, detail: str) -> bool:
        """Of a running job; as `commit_or_keep`."""
        return self.commit_or_keep(
            Ending(job_id=job_id, attempt=attempt, state=JobState.QUEUED, reason=reason, error=detail)
        )

    def commit_kept(self) -> None:
        """Raises if the database is still unavailable. What can never be committed is set aside: the job that it was
        the ending of is then requeued like any other that its worker no longer holds."""
        keys = self.spool.keys()
        for key in keys:
            ending = self._kept(key)
            if ending is None:
                continue
            try:
                accepted = self._commit_or_fail(ending)
            except NeverStored as error:
                if is_unavailable(error):
                    raise
                self._set_aside(key, f"the database refuses it: {_words(error)}")
            else:
                self.spool.drop(key)
                log.info("kept_result_committed", job=ending.job_id, attempt=ending.attempt, accepted=accepted)

    def requeue_left_by_older_boots(self) -> list[int]:
        """At the worker's boot, before the first hint. Returns the jobs' ids."""
        detail = f"GPU {self.gpu} has a new worker"
        return [
            job_id
            for job_id, attempt in lifecycle.left_by_older_boots(self.gpu, boot=self.boot)
            if self.requeue(job_id, attempt, Reason.WORKER_RESTARTED, detail)
        ]

    # --- parts

    def _commit_or_keep(self, ending: Ending) -> bool:
        try:
            return self._commit_or_fail(ending)
        except NeverStored as error:
            # Also if the database refuses even the failure: the next look at the shelf sets that aside.
            self.spool.keep(ending.key, asdict(ending))
            if ending.state is not JobState.QUEUED:
                self.witness.note(Saw.KEPT, *ending.key)
            log.warning("result_kept", job=ending.job_id, attempt=ending.attempt, state=ending.state, error=error)
            return False

    def _commit_or_fail(self, ending: Ending) -> bool:
        """A result that can never be stored ends its job as failed, since waiting would not help."""
        try:
            return self._commit(ending)
        except NeverStored as error:
            if is_unavailable(error) or ending.state is JobState.QUEUED:
                raise
            words = f"the database cannot store how the job ended ({ending.state}): {_words(error)}"
            log.error("result_not_storable", job=ending.job_id, attempt=ending.attempt, error=words)
            failed = replace(
                ending, state=JobState.FAILED, reason=Reason.RESULT_INVALID, error=storable_text(words), result=None
            )
            return self._commit(failed)

    def _kept(self, key: Key) -> Ending | None:
        try:
            return _parse(key, self.spool.read(key))
        except FileNotFoundError:
            return None  # committed meanwhile
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            self._set_aside(key, f"it cannot be read: {_words(error)}")
            return None

    def _set_aside(self, key: Key, why: str) -> None:
        try:
            path = self.spool.set_aside(key)
        except OSError as error:
            # The others on the shelf are committed nevertheless.
            log.error("kept_result_not_set_aside", job=key[0], attempt=key[1], gpu=self.gpu, error=error, because=why)
            return
        log.error("kept_result_set_aside", job=key[0], attempt=key[1], gpu=self.gpu, file=path, error=why)

    def _commit(self, ending: Ending) -> bool:
        """False: the attempt is no longer the current one. Then nothing changes."""
        if ending.state is JobState.QUEUED:
            return self._requeue(ending)
        accepted = lifecycle.end(
            ending.job_id,
            ending.attempt,
            ending.state,
            reason=ending.reason,
            error=ending.error,
            result=ending.result,
        )
        if not accepted:
            log.warning("commit_refused", job=ending.job_id, attempt=ending.attempt, state=ending.state)
        self.witness.note(Saw.ENDED if accepted else Saw.REFUSED, *ending.key, state=ending.state)
        return accepted

    def _requeue(self, ending: Ending) -> bool:
        assert ending.reason is not None  # noqa: S101 (every requeue has its reason)
        if ending.reason is Reason.GPU_FAULT:
            # First, and whether or not the attempt is still the current one: the job must not come back here.
            quarantine_broken(self.gpu, ending.error)
        state = lifecycle.requeue(ending.job_id, ending.attempt, ending.reason, detail=ending.error)
        if state is None:
            return False
        # A job that has reached its limit of failures, or whose cancel was requested, ends instead.
        event = "job_requeued" if state is JobState.QUEUED else f"job_{state}"
        level = logging.WARNING if ending.reason in CHARGED_REASONS else logging.INFO
        log.log(level, event, job=ending.job_id, attempt=ending.attempt, gpu=self.gpu, reason=ending.reason)
        return True


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _parse(key: Key, values: dict[str, Any]) -> Ending:
    reason = values.pop("reason")
    ending = Ending(state=JobState(values.pop("state")), reason=Reason(reason) if reason else None, **values)
    if ending.key != key:
        raise ValueError(f"it holds the ending of job {ending.job_id}, attempt {ending.attempt}")
    if ending.state is JobState.RUNNING or (ending.state is JobState.QUEUED and ending.reason is None):
        raise ValueError("it holds no ending")
    return ending
