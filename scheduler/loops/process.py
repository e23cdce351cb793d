"""The scheduler process: a Celery worker for the ticks; the relay, the reaper and the clock watch in threads.

The loops do not depend on Celery's connection to the broker: they go on while that is being restored.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from celery import bootsteps
from django.conf import settings
from django.db import close_old_connections
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from scheduler.celery import CONTROL_QUEUE, app, worker_main
from scheduler.database_errors import DatabaseFailure
from scheduler.logs import Outage, event_logger
from scheduler.loops.clock_watch import ClockWatch
from scheduler.loops.generator import workload
from scheduler.loops.lease import LeaseHolder
from scheduler.loops.ownership import Ownership, require_ownership
from scheduler.loops.reaper import Reaper
from scheduler.loops.relay import Relay
from scheduler.loops.ticker import Ticker
from scheduler.loops.vitals import Vitals
from scheduler.redis_client import connect

log = event_logger(__name__)

LOOP_SECONDS: Final = 0.5

#: A loop that did at least this much in one tick runs again sooner: a window may run dry within a period.
BUSY_FROM: Final = 100
BUSY_PERIOD_SECONDS: Final = 0.1


class LeasedLoop:
    """A loop that acts while this process holds its lease; of several schedulers one acts.

    act: called with monotonic seconds, returns how much there was to do. ownership: without it, the loop acts on a
    database and a broker that another cluster uses too.
    """

    def __init__(self, name: str, act: Callable[[float], int], ownership: Ownership | None = None) -> None:
        self._act, self._done, self._ownership = act, 0, ownership
        self._lease, self._outage = LeaseHolder(name), Outage(log, name)
        self.ticker = Ticker(name, self.tick, self.period_seconds)

    def tick(self, now: float) -> bool:
        """Whether broker and database answered."""
        self._done = 0
        try:
            close_old_connections()
            if self._lease.held(now):
                if self._ownership is not None and not self._ownership.is_ours(now):
                    return False
                self._done = self._act(now)
        except (DatabaseFailure, RedisError, KombuError, OSError) as error:
            self._outage.broke(error)
            return False
        self._outage.recovered()
        return True

    def period_seconds(self) -> float:
        return BUSY_PERIOD_SECONDS if self._done >= BUSY_FROM else LOOP_SECONDS


class Loops(bootsteps.StartStopStep):
    """Starts and stops the loops with the worker."""

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        loops = [
            LeasedLoop("relay", Relay(connect()).tick, Ownership(connect(), renews=True)),
            LeasedLoop("reaper", Reaper(connect()).tick, Ownership(connect(), renews=False)),
            LeasedLoop("clock", ClockWatch().tick),
        ]
        self._tickers = [loop.ticker for loop in loops]
        self._vitals = Vitals(Path(settings.RUN_DIR, "scheduler.health"), [ticker.sign for ticker in self._tickers])

    def start(self, parent: Any) -> None:
        for ticker in self._tickers:
            ticker.start()
        self._vitals.start()

    def stop(self, parent: Any) -> None:
        self._vitals.stop()
        for ticker in self._tickers:
            ticker.stop()


def main() -> None:
    """Runs the scheduler role in this process until SIGTERM."""
    workload()  # an invalid configuration ends the start here, instead of each tick
    require_ownership(connect())
    app.steps["worker"].add(Loops)
    # A tick a second would push the jobs out of Flower's list.
    worker_main(hostname="scheduler", queues=[CONTROL_QUEUE], pool="solo", task_events=False)
