"""The watch of a worker that is cut off: it hears neither the broker nor the database.

In a thread of its own that waits for neither: it only compares times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gpu_tasks.worker.child_watch import ChildWatch
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.valve import DATABASE_UNAVAILABLE, Valve
from scheduler.logs import event_logger
from scheduler.loops.heartbeats import SILENCE_SECONDS
from scheduler.rules.states import Reason

log = event_logger(__name__)

CUT_OFF_PERIOD_SECONDS: Final = 1.0
#: A database that has not answered for this time is unavailable, though it refused nothing.
ANSWER_SECONDS: Final = 5.0


@dataclass(slots=True, kw_only=True)
class CutOff:
    gpu: int
    held: Held
    valve: Valve
    child: ChildWatch
    #: Monotonic seconds of the last heartbeat that Redis confirmed.
    heard_at: Callable[[], float]
    _looked_at: float = field(default_factory=time.monotonic)
    #: Silence before this does not count: the process was suspended, and asks first.
    _silent_from: float = float("-inf")

    def tick(self, now: float) -> bool:
        """After SILENCE_SECONDS without Redis and without the database it is unknown whether the claim is still
        valid: the job is killed here before it may have run elsewhere for long, and is requeued without a charge.

        now: monotonic seconds. Returns whether the database answers.
        """
        if now - self._looked_at > 2 * CUT_OFF_PERIOD_SECONDS:
            self._silent_from = now
        self._looked_at = now
        answered_at = max(self.valve.answered_at, self._silent_from)
        answers = now - answered_at <= ANSWER_SECONDS
        if not answers:
            self.valve.shut(DATABASE_UNAVAILABLE)
        job = self.held.read()
        if job is None or not job.runs or self.child.is_killed(job):
            return answers
        if now - max(answered_at, self.heard_at()) > SILENCE_SECONDS:
            log.warning("worker_cut_off", job=job.job_id, attempt=job.attempt, gpu=self.gpu, seconds=SILENCE_SECONDS)
            self.child.kill(job, Reason.CLAIM_LOST)
        return answers
