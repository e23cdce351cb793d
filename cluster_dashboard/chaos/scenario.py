"""What a scenario is: it makes its load, injects, heals, and says what must come of its jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cluster_dashboard.chaos.scorecard import Promise
from cluster_dashboard.chaos.stage import Stage

#: Promised for a worker that was killed or hangs: known dead, and its job running elsewhere.
WORKER_LOST: Final = Promise(detected_seconds=10, recovered_seconds=12)
#: Promised for a broker that was restarted; ours for every other process as well.
BACK_SOON_SECONDS: Final = 10.0
NOTHING_PROMISED: Final = Promise()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    summary: str
    play: Callable[[Stage], None]
    promise: Promise = NOTHING_PROMISED
    #: With fewer it cannot show what it is about.
    gpus: int = 1
