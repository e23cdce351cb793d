"""A job type from outside the project, whose jobs start a process of their own, as data loaders do."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, ClassVar

from scheduler.job_type import JobContext, JobParams


class GrandchildrenParams(JobParams):
    pid_file: str = "grandchild.pid"
    #: Starts a second one, which leads a session of its own.
    setsid: bool = False


class Grandchildren:
    name: ClassVar[str] = "grandchildren"
    summary: ClassVar[str] = "Starts processes that ignore SIGTERM, and waits for them"
    Params = GrandchildrenParams

    def run(self, params: GrandchildrenParams, context: JobContext) -> dict[str, Any]:
        command = ["/bin/sh", "-c", "trap '' TERM; exec sleep 600"]
        started = [subprocess.Popen(command, start_new_session=new) for new in {False, params.setsid}]
        aside = Path(f"{params.pid_file}.new")
        aside.write_text(" ".join(str(process.pid) for process in started))
        aside.replace(params.pid_file)
        return {"exit_codes": [process.wait() for process in started]}

    def gpu_memory_mib(self, params: GrandchildrenParams) -> int:
        return 0

    def load(self, params: GrandchildrenParams) -> float:
        return 0.1
