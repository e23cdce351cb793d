"""Every ending of a job on this GPU goes through here: result, failure, and each cause of a requeue.

It is committed if the fence allows it. While the database is unavailable it is kept on the spool's shelf, and committed
later. The worker's witness notes what became of a result.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db import DatabaseError

from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.witness import Saw, Witness
from scheduler.jobs import lifecycle
from scheduler.logs import event_logger
from scheduler.rules.states import CHARGED_REASONS, JobState, Reason

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
        """DatabaseError if the database is still unavailable."""
        for values in self.spool.kept():
            ending = _parse(values)
            accepted = self._commit(ending)
            self.spool.drop(ending.key)
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
            return self._commit(ending)
        except DatabaseError as error:
            self.spool.keep(ending.key, asdict(ending))
            if ending.state is not JobState.QUEUED:
                self.witness.saw(Saw.KEPT, *ending.key)
            log.warning("result_kept", job=ending.job_id, attempt=ending.attempt, state=ending.state, error=error)
            return False

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
        self.witness.saw(Saw.ENDED if accepted else Saw.REFUSED, *ending.key, state=ending.state)
        return accepted

    def _requeue(self, ending: Ending) -> bool:
        assert ending.reason is not None  # noqa: S101 (every requeue has its reason)
        state = lifecycle.requeue(ending.job_id, ending.attempt, ending.reason, detail=ending.error)
        if state is None:
            return False
        # A job that has reached its limit of failures, or whose cancel was requested, ends instead.
        event = "job_requeued" if state is JobState.QUEUED else f"job_{state}"
        level = logging.WARNING if ending.reason in CHARGED_REASONS else logging.INFO
        log.log(level, event, job=ending.job_id, attempt=ending.attempt, gpu=self.gpu, reason=ending.reason)
        return True


def _parse(values: dict[str, Any]) -> Ending:
    reason = values.pop("reason")
    return Ending(state=JobState(values.pop("state")), reason=Reason(reason) if reason else None, **values)
