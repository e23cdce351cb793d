"""The scheduler process: a Celery worker for the ticks, and the relay and reaper loops in threads of their own.

The loops do not depend on the worker's connection to the broker: they go on while that is being repaired.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from celery import bootsteps
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from scheduler.celery import CONTROL_QUEUE, app, worker_main
from scheduler.logs import event_logger
from scheduler.loops.generator import workload
from scheduler.loops.lease import LeaseHolder
from scheduler.loops.reaper import Reaper
from scheduler.loops.relay import Relay
from scheduler.loops.vitals import Sign, Vitals
from scheduler.redis_client import connect

log = event_logger(__name__)

PERIOD_SECONDS: Final = 0.5

#: A loop that found so much to do in one tick looks again sooner: a window may run dry within a period.
BUSY_FROM: Final = 100
BUSY_PERIOD_SECONDS: Final = 0.1


class Loop(Thread):
    """Calls `tick(monotonic seconds)` twice a second while this process holds the loop's lease."""

    def __init__(self, name: str, tick: Callable[[float], int]) -> None:
        super().__init__(name=name, daemon=True)
        self._tick = tick
        self._lease = LeaseHolder(name)
        self._stopping = Event()
        self._failing = False
        self.sign = Sign(name)

    def run(self) -> None:
        done = 0
        while not self._stopping.wait(BUSY_PERIOD_SECONDS if done >= BUSY_FROM else PERIOD_SECONDS):
            done = self._once()
        connection.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=5)

    def _once(self) -> int:
        """How much there was to do."""
        done = 0
        self.sign.turned()
        try:
            close_old_connections()
            now = time.monotonic()
            if self._lease.held(now):
                done = self._tick(now)
        except (DatabaseError, RedisError, KombuError, OSError) as error:
            # A broker or database that is away: said once, then tried again until it is back.
            if not self._failing:
                log.warning("loop_waits", loop=self.name, error=f"{type(error).__name__}: {error}")
            self._failing = True
        except Exception:
            log.exception("loop_failed", loop=self.name)
            self._failing = True
        else:
            if self._failing:
                log.info("loop_goes_on", loop=self.name)
            self._failing = False
            self.sign.worked()
        return done


class Loops(bootsteps.StartStopStep):
    """Starts and stops the loops with the worker."""

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._loops = [Loop("relay", Relay(connect()).tick), Loop("reaper", Reaper(connect()).tick)]
        self._vitals = Vitals(Path(settings.RUN_DIR, "scheduler.health"), [loop.sign for loop in self._loops])

    def start(self, parent: Any) -> None:
        for loop in self._loops:
            loop.start()
        self._vitals.start()

    def stop(self, parent: Any) -> None:
        self._vitals.stop()
        for loop in self._loops:
            loop.stop()


def main() -> None:
    """Runs the scheduler role in this process until SIGTERM."""
    workload()  # a configuration that cannot be used ends the start, not every tick
    app.steps["worker"].add(Loops)
    worker_main(hostname="scheduler", queues=[CONTROL_QUEUE], pool="solo")
