"""A job type from outside the project, whose jobs do whatever their test wants to see the worker survive."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler.job_type import JobContext, SimpleJobType


@dataclass
class ScriptParams:
    #: Python, with `context` in reach; the variable `result` is the job's result.
    code: str


class Script(SimpleJobType):
    name, summary, Params = "script", "Runs the code of a test", ScriptParams

    def run(self, params: ScriptParams, context: JobContext) -> dict[str, Any]:
        # One namespace, so that functions of the code see its imports.
        names: dict[str, Any] = {"context": context, "result": {}}
        exec(params.code, names)
        return names["result"]


def double(number: int) -> int:
    """For processes that the code starts: they import what they call."""
    return 2 * number


def leave_processes_behind(file: str) -> None:
    """This process, one of its own group, and one in its own session; none of them ends by itself."""
    started = [subprocess.Popen(["sleep", "600"], start_new_session=new) for new in (False, True)]
    aside = Path(f"{file}.new")
    aside.write_text(" ".join(map(str, (os.getpid(), *(each.pid for each in started)))))
    aside.replace(file)
    time.sleep(600)
