"""Endings kept on disk while the database is away. Committed later, if the fence still allows it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from django.db import DatabaseError

from gpu_tasks.worker.witness import Saw, Witness
from scheduler.jobs import lifecycle
from scheduler.logs import event_logger
from scheduler.rules.states import JobState, Reason

log = event_logger(__name__)

#: Between two tries to get a result anywhere.
AGAIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one attempt ended. State queued: its job goes back, for this reason."""

    job_id: int
    attempt: int
    state: JobState
    reason: Reason | None = None
    error: str = ""
    result: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[int, int]:
        return self.job_id, self.attempt


def commit(ending: Ending) -> bool:
    """False: the attempt is not the current one any more; the result is discarded, and counted."""
    if ending.state is JobState.QUEUED:
        assert ending.reason is not None  # noqa: S101 (whoever gives a job back says why)
        return lifecycle.requeue(ending.job_id, ending.attempt, ending.reason, detail=ending.error) is not None
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
    return accepted


class Spool:
    """One folder for each GPU; one file for each ending."""

    def __init__(self, folder: Path, witness: Witness) -> None:
        self._folder, self._witness = folder, witness
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def commit_or_keep(self, ending: Ending) -> bool:
        """Whether it was committed now. Where a full disk takes neither it waits: the job is held meanwhile."""
        said = False
        while True:
            try:
                return self._commit_or_keep(ending)
            except OSError as error:
                if not said:
                    log.warning("result_waits_for_disk", job=ending.job_id, attempt=ending.attempt, error=error)
                said = True
                time.sleep(AGAIN_SECONDS)

    def _commit_or_keep(self, ending: Ending) -> bool:
        try:
            return self._commit(ending)
        except DatabaseError as error:
            self.keep(ending)
            if ending.state is not JobState.QUEUED:
                self._witness.saw(Saw.KEPT, *ending.key)
            log.warning("result_kept", job=ending.job_id, attempt=ending.attempt, state=ending.state, error=error)
            return False

    def _commit(self, ending: Ending) -> bool:
        accepted = commit(ending)
        if ending.state is not JobState.QUEUED:
            self._witness.saw(Saw.ENDED if accepted else Saw.REFUSED, *ending.key, state=ending.state)
        return accepted

    def keep(self, ending: Ending) -> None:
        """Durable when it returns: written aside, synced, renamed."""
        path = self._folder / f"{ending.job_id}-{ending.attempt}.json"
        aside = path.with_suffix(".part")
        with aside.open("w") as file:
            json.dump(asdict(ending), file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def waiting(self) -> list[Ending]:
        return [_parse(json.loads(path.read_text())) for path in sorted(self._folder.glob("*.json"))]

    def keys(self) -> tuple[tuple[int, int], ...]:
        """(job, attempt) of what waits, by the names of its files: asks no database."""
        found = [path.stem.split("-") for path in sorted(self._folder.glob("*.json"))]
        return tuple((int(job_id), int(attempt)) for job_id, attempt in found)

    def flush(self) -> int:
        """Commits what waits; raises DatabaseError if the database is still away. Gives how many went."""
        waiting = self.waiting()
        for ending in waiting:
            self._commit(ending)
            (self._folder / f"{ending.job_id}-{ending.attempt}.json").unlink()
        return len(waiting)


def _parse(values: dict[str, Any]) -> Ending:
    reason = values.pop("reason")
    return Ending(state=JobState(values.pop("state")), reason=Reason(reason) if reason else None, **values)
