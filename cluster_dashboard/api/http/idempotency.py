"""Idempotency-Key: a submission that is sent again is not done again, and gets the same answer.

Each transaction that inserts jobs also records them here, so a submission that was interrupted continues where it
stopped when it is sent again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final

from django.db import transaction
from django.db.models.functions import Now

from cluster_dashboard.api.http.problems import RETRY_AFTER_SECONDS, FieldError, Problem
from cluster_dashboard.models import KeptSubmission
from scheduler.database_errors import DatabaseFailure
from scheduler.jobs.clock import database_now
from scheduler.logs import event_logger
from scheduler.rules.moments import SLACK_SECONDS

log = event_logger(__name__)

KEPT_FOR: Final = timedelta(hours=24)

#: A request without progress for this time counts as dead, and the next one with its key continues in its place.
HOLD: Final = timedelta(seconds=30)

#: Old rows removed with each new one at most, so that no request has to remove very many.
REMOVED_AT_ONCE: Final = 100

KEY_HEADER: Final = "Idempotency-Key"


@dataclass(slots=True, kw_only=True)
class Hold:
    """The right to work on a submission. `ids`: jobs that were inserted already."""

    row: int
    holder: str
    ids: list[int]
    done: bool

    def note(self, ids: list[int], *, last: bool) -> None:
        """Called inside the transaction that inserts the jobs; raises Problem if another request has taken over."""
        mine = KeptSubmission.objects.filter(id=self.row, holder=self.holder, done=False)
        if not mine.update(accepted=_runs(self.ids + ids), done=last, held_until=Now() + HOLD):
            raise _busy()

    def noted(self, ids: list[int], *, last: bool) -> None:
        """Called after the commit."""
        self.ids += ids
        self.done = last

    def let_go(self) -> None:
        """After a failure: the next request with this key need not wait. Without jobs the key is free again."""
        mine = KeptSubmission.objects.filter(id=self.row, holder=self.holder)
        try:
            # The row is asked, not `ids`: a commit whose answer was lost may have recorded jobs.
            mine.filter(accepted=[]).delete()
            mine.update(held_until=Now())
        except DatabaseFailure as error:
            # Probably what made the submission fail. The hold expires by itself.
            log.info("submission_hold_kept", error=f"{type(error).__name__}: {error}")


def hold(actor: str, key: str, body: Any) -> Hold:
    """Raises Problem 422 if the key was used with another body, 409 while another request works on it."""
    digest = sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    holder = token_hex(16)
    with transaction.atomic():
        _remove_old()
        row, is_new = KeptSubmission.objects.get_or_create(
            actor=actor, key=key, defaults={"digest": digest, "holder": holder, "held_until": Now() + HOLD}
        )
        if is_new:
            return Hold(row=row.id, holder=holder, ids=[], done=False)
        # Two requests may have found it free: the lock makes one of them wait for the other.
        row = KeptSubmission.objects.select_for_update().get(id=row.id)
        if row.digest != digest:
            message = "was used with another body; use a new key for a new submission"
            raise Problem(422, f"{KEY_HEADER}: {message}", errors=[FieldError(field=KEY_HEADER, message=message)])
        if not row.done:
            now = database_now()
            # Nobody holds it for longer than HOLD: the clock was set back since.
            if now < row.held_until <= now + HOLD + timedelta(seconds=SLACK_SECONDS):
                raise _busy()
            KeptSubmission.objects.filter(id=row.id).update(holder=holder, held_until=Now() + HOLD)
    ids = [job_id for first, last in row.accepted for job_id in range(first, last + 1)]
    return Hold(row=row.id, holder=holder, ids=ids, done=row.done)


def _busy() -> Problem:
    detail = f"Another request with this {KEY_HEADER} is in progress. Send it again later to get its answer."
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
