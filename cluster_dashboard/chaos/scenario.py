"""What a scenario is: it submits its jobs, injects a fault, heals it, and states how its jobs must end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cluster_dashboard.chaos.scorecard import Promise
from cluster_dashboard.chaos.stage import Stage

#: Promised for a worker that was killed or is suspended: its death is known, and its job runs on another worker.
WORKER_LOST: Final = Promise(detected_seconds=10, recovered_seconds=12)
#: Promised for a broker that was restarted, and for every process that was killed.
BACK_SOON_SECONDS: Final = 10.0
NOTHING_PROMISED: Final = Promise()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    summary: str
    play: Callable[[Stage], None]
    promise: Promise = NOTHING_PROMISED
    #: The number of GPUs that it needs.
    gpus: int = 1
