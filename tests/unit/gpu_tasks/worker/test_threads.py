"""The threads of a worker's main process are those that `worker/threads.py` explains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gpu_tasks.worker import threads as worker
from gpu_tasks.worker.held import Held
from scheduler.loops.ticker import Ticker


def test_every_thread_is_explained_and_nothing_else_is(tmp_path: Path, settings: Any) -> None:
    settings.RUN_DIR = str(tmp_path)
    anything: Any = type("Anything", (), {"__getattr__": lambda self, name: self})()
    parts = worker.Parts(gpu=0, boot="b", backend=anything, held=Held(), commit=anything, record=anything, left_over=[])

    threads = worker.Threads(parts, anything)

    assert worker.__doc__ is not None
    explained = set(re.findall(r"^- (\w+)", worker.__doc__, flags=re.MULTILINE))
    tickers = [part for part in vars(threads).values() if isinstance(part, Ticker)]
    assert {ticker.name for ticker in tickers} | {threads._vitals._ticker.name, "MainThread"} == explained
