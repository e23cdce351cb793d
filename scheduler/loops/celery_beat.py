"""Beat: publishes the ticks of `app.conf.beat_schedule`. They are idempotent: it keeps no state on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from django.conf import settings
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from scheduler.celery import app
from scheduler.logs import Outage, event_logger
from scheduler.loops.ticker import Sign
from scheduler.loops.vitals import Vitals

log = event_logger(__name__)

_SIGN: Final = Sign("beat")


class WatchedScheduler(Scheduler):
    """Celery's scheduler, by the monotonic clock; it also notes when it went round and when it published a tick."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # First: Celery's own start calls methods of this class.
        self._outage = Outage(log, "beat")
        #: By name of the entry, in monotonic seconds.
        self._due_at: dict[str, float] = {}
        super().__init__(*args, **kwargs)

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Sends what is due; returns the seconds until the next call. Celery's own tick goes by the wall clock: after
        one that was set back, it would send nothing until the clock has caught up."""
        _SIGN.turned()
        for name, entry in self.schedule.items():
            now = time.monotonic()
            if now >= self._due_at.get(name, now):
                # From now on, not from when it was due: after a stop of the process nothing is made up for.
                self._due_at[name] = now + _period_seconds(entry)
                self.apply_entry(entry, producer=self.producer)
        rest = min(self._due_at.values(), default=float("inf")) - time.monotonic()
        return max(0.0, min(rest, float(self.max_interval or 1)))

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        result = super().apply_async(*args, **kwargs)
        _SIGN.worked()
        return result

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """An unavailable broker is logged once: Celery's own method logs two stacks with each tick."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            if isinstance(error.__context__, OperationalError | RedisError | OSError):
                self._outage.broke(error)
            else:
                log.exception("tick_not_sent", entry=entry.name)
        else:
            self._outage.recovered()

    def _ensure_connected(self) -> Any:
        # Celery tries for ever, inside one tick.
        return self.connection.ensure_connection(
            lambda error, _seconds: self._outage.broke(error),
            app.conf.broker_connection_max_retries,
            callback=_SIGN.turned,
        )


def _period_seconds(entry: ScheduleEntry) -> float:
    period: Any = entry.schedule
    return float(period.run_every.total_seconds())


def beat_main() -> None:
    """Runs beat in this process until it is stopped."""
    Vitals(Path(settings.RUN_DIR, "beat.health"), [_SIGN]).start()
    app.Beat(scheduler="scheduler.loops.celery_beat:WatchedScheduler", loglevel="WARNING", quiet=True).run()
