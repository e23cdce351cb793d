"""A lease: a row that lets one of several schedulers act."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import uuid4

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from scheduler.models import Lease
from scheduler.rules.moments import SLACK_SECONDS

#: A holder that has not renewed its lease for this time, by the database's clock, has lost it.
TERM_SECONDS: Final = 6.0
#: Between two renewals.
RENEWAL_SECONDS: Final = 2.0


def _holder() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"


@dataclass(slots=True)
class LeaseHolder:
    name: str
    holder: str = field(default_factory=_holder)
    _held_until: float = 0.0
    _renew_at: float = 0.0

    def held(self, now: float) -> bool:
        """Whether this process may act at `now` (monotonic seconds); takes or renews the lease as needed."""
        if now >= self._renew_at:
            taken = self._take()
            # Counted from before the request: so the lease ends earlier for this process than for the database.
            self._held_until = now + TERM_SECONDS if taken else 0.0
            self._renew_at = now + (RENEWAL_SECONDS if taken else 0.5)
        return now < self._held_until

    def _take(self) -> bool:
        expiry = Now() + timedelta(seconds=TERM_SECONDS)
        free = Q(holder=self.holder) | Q(expires_at__lte=Now()) | Q(holder__in=self._dead_holders())
        # Nobody takes it for longer than a term: the clock was set back since, and its holder may be gone.
        free |= Q(expires_at__gt=expiry + timedelta(seconds=SLACK_SECONDS))
        if Lease.objects.filter(free, name=self.name).update(holder=self.holder, expires_at=expiry):
            return True
        if Lease.objects.filter(name=self.name).exists():
            return False
        with suppress(IntegrityError), transaction.atomic():
            # Two schedulers may insert at the same time: the key admits one.
            Lease.objects.create(name=self.name, holder=self.holder, expires_at=expiry)
            return True
        return False

    def _dead_holders(self) -> list[str]:
        """The present holder, if it was a process of this machine that has ended: its term need not run out."""
        holder = Lease.objects.filter(name=self.name).values_list("holder", flat=True).first()
        if holder is None:
            return []
        host, pid, _ = holder.split("/")
        return [holder] if host == socket.gethostname() and not is_running(int(pid)) else []


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
