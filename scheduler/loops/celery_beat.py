"""Beat: publishes the ticks of `app.conf.beat_schedule`. They are idempotent: it keeps no state on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from django.conf import settings
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from scheduler.celery import app
from scheduler.logs import event_logger
from scheduler.loops.vitals import Sign, Vitals

log = event_logger(__name__)

_SIGN: Final = Sign("beat")


class WatchedScheduler(Scheduler):
    """Celery's own, which says when it went round and when it published a tick."""

    _failing = False

    def tick(self, *args: Any, **kwargs: Any) -> float:
        _SIGN.turned()
        return float(super().tick(*args, **kwargs))

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        result = super().apply_async(*args, **kwargs)
        _SIGN.worked()
        return result

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """A broker that is away is said once: Celery's own logs two stacks with each tick."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            if not isinstance(error.__context__, OperationalError | RedisError | OSError):
                log.exception("tick_not_sent", entry=entry.name)
            elif not self._failing:
                log.warning("beat_waits", error=error)
            self._failing = True
        else:
            if self._failing:
                log.info("beat_goes_on")
            self._failing = False

    def _ensure_connected(self) -> Any:
        def wait(error: Exception, seconds: float) -> None:
            log.warning("beat_waits", error=f"{type(error).__name__}: {error}", again_in_seconds=seconds)

        # Tried again for ever, inside one tick.
        retries = app.conf.broker_connection_max_retries
        return self.connection.ensure_connection(wait, retries, callback=_SIGN.turned)


def beat_main() -> None:
    """Runs beat in this process until it is stopped."""
    Vitals(Path(settings.RUN_DIR, "beat.health"), [_SIGN]).start()
    app.Beat(scheduler="scheduler.loops.celery_beat:WatchedScheduler", loglevel="WARNING", quiet=True).run()
