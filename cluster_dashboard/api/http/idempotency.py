"""Idempotency-Key: a submission that is sent again is not done again, and gets the same answer.

What is in so far is noted in the transaction that makes the jobs, so a submission that was cut off goes on
where it stopped when it is sent again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final

from django.db import DatabaseError, transaction
from django.db.models.functions import Now

from cluster_dashboard.api.http.problems import RETRY_AFTER_SECONDS, FieldError, Problem
from cluster_dashboard.models import KeptSubmission
from scheduler.jobs.clock import database_now
from scheduler.logs import event_logger

log = event_logger(__name__)

KEPT_FOR: Final = timedelta(hours=24)

#: A request that has not come on for so long is taken for dead, and the next one goes on in its place.
HOLD: Final = timedelta(seconds=30)

#: Old ones removed with each new one: a long pause leaves no long delete to one caller.
REMOVED_AT_ONCE: Final = 100

KEY_HEADER: Final = "Idempotency-Key"


@dataclass(slots=True, kw_only=True)
class Hold:
    """The right to work on a submission. `ids`: jobs that are in already."""

    row: int
    holder: str
    ids: list[int]
    done: bool

    def note(self, ids: list[int], *, last: bool) -> None:
        """To be called inside the transaction that made the jobs; raises where another request took over."""
        mine = KeptSubmission.objects.filter(id=self.row, holder=self.holder, done=False)
        if not mine.update(accepted=_runs(self.ids + ids), done=last, held_until=Now() + HOLD):
            raise _busy()

    def noted(self, ids: list[int], *, last: bool) -> None:
        """After that transaction: before its end nothing of it is true."""
        self.ids += ids
        self.done = last

    def let_go(self) -> None:
        """After a failure: whoever sends it again need not wait. Without jobs the key is free once more."""
        mine = KeptSubmission.objects.filter(id=self.row, holder=self.holder)
        try:
            # Asked of the row: a commit whose answer was lost may have noted jobs that we know nothing of.
            mine.filter(accepted=[]).delete()
            mine.update(held_until=Now())
        except DatabaseError as error:
            # The very reason of the failure, most likely. The hold ends by itself.
            log.info("submission_stays_held", error=f"{type(error).__name__}: {error}")


def hold(actor: str, key: str, body: Any) -> Hold:
    """Problem 422 if the key belongs to another body, 409 while another request works on it."""
    digest = sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    holder = token_hex(16)
    with transaction.atomic():
        _remove_old()
        row, is_new = KeptSubmission.objects.get_or_create(
            actor=actor, key=key, defaults={"digest": digest, "holder": holder, "held_until": Now() + HOLD}
        )
        if is_new:
            return Hold(row=row.id, holder=holder, ids=[], done=False)
        # Two requests may have found it free: the lock lets one of them see what the other did.
        row = KeptSubmission.objects.select_for_update().get(id=row.id)
        if row.digest != digest:
            message = "was used with another body; take a new key for a new submission"
            raise Problem(422, f"{KEY_HEADER}: {message}", errors=[FieldError(field=KEY_HEADER, message=message)])
        if not row.done:
            if row.held_until > database_now():
                raise _busy()
            KeptSubmission.objects.filter(id=row.id).update(holder=holder, held_until=Now() + HOLD)
    ids = [job_id for first, last in row.accepted for job_id in range(first, last + 1)]
    return Hold(row=row.id, holder=holder, ids=ids, done=row.done)


def _busy() -> Problem:
    detail = f"A request with this {KEY_HEADER} is being worked on. Ask again in a moment for its answer."
    return Problem(409, detail, retry_after=RETRY_AFTER_SECONDS)


def _remove_old() -> None:
    old = KeptSubmission.objects.filter(created_at__lt=Now() - KEPT_FOR).order_by("id")[:REMOVED_AT_ONCE]
    ids = list(old.values_list("id", flat=True))
    if ids:
        KeptSubmission.objects.filter(id__in=ids).delete()


def _runs(ids: list[int]) -> list[list[int]]:
    """[first, last] of each run of consecutive ids: 10,000 ids become a short list."""
    runs: list[list[int]] = []
    for job_id in ids:
        if runs and job_id == runs[-1][1] + 1:
            runs[-1][1] = job_id
        else:
            runs.append([job_id, job_id])
    return runs
