"""The numbers that one scrape reads from the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from cluster_dashboard.live.read import oldest_waiting
from cluster_dashboard.live.totals import Totals, TotalsReader
from scheduler.jobs.clock import database_now
from scheduler.jobs.room import Room, look
from scheduler.loops.ownership import LEASE_NAME as OWNERSHIP
from scheduler.models import Control, Gpu, Job, Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseNumbers:
    now: datetime
    totals: Totals
    oldest: dict[Any, float]
    gpus: list[Gpu]
    #: Indexes of the GPUs that run a job.
    busy: set[int | None]
    control: Control | None
    leases: list[Lease]
    room: Room

    @classmethod
    def read(cls, totals: TotalsReader) -> Self:
        now = database_now()
        return cls(
            now=now,
            totals=totals.read(now),
            oldest=oldest_waiting(now),
            gpus=list(Gpu.objects.all()),
            busy={gpu for gpu in Job.objects.running().values_list("gpu", flat=True) if gpu is not None},
            control=Control.objects.first(),
            leases=list(Lease.objects.exclude(name=OWNERSHIP)),
            room=look(),
        )
