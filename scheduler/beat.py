"""Beat: publishes the ticks of `app.conf.beat_schedule`. They are idempotent: it keeps no state on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from celery.beat import Scheduler
from django.conf import settings

from scheduler.celery import app
from scheduler.logs import event_logger
from scheduler.vitals import Sign, Vitals

log = event_logger(__name__)

_SIGN: Final = Sign("beat")


class WatchedScheduler(Scheduler):
    """Celery's own, which says when it went round and when it published a tick."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        _SIGN.turned()
        return float(super().tick(*args, **kwargs))

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        result = super().apply_async(*args, **kwargs)
        _SIGN.worked()
        return result

    def _ensure_connected(self) -> Any:
        def wait(error: Exception, seconds: float) -> None:
            # Tried again for ever, inside one tick.
            _SIGN.turned()
            log.warning("beat_waits", error=f"{type(error).__name__}: {error}", again_in_seconds=seconds)

        return self.connection.ensure_connection(wait, app.conf.broker_connection_max_retries)


def beat_main() -> None:
    """Runs beat in this process until it is stopped."""
    Vitals(Path(settings.RUN_DIR, "beat.health"), [_SIGN]).start()
    app.Beat(scheduler="scheduler.beat:WatchedScheduler", loglevel="WARNING", quiet=True).run()
