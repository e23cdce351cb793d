"""A job type from outside the project, whose jobs start a process of their own, as data loaders do."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, ClassVar

from scheduler.job_type import JobContext, JobParams


class GrandchildrenParams(JobParams):
    pid_file: str = "grandchild.pid"


class Grandchildren:
    name: ClassVar[str] = "grandchildren"
    summary: ClassVar[str] = "Starts a process and waits for it"
    Params = GrandchildrenParams

    def run(self, params: GrandchildrenParams, context: JobContext) -> dict[str, Any]:
        with subprocess.Popen(["sleep", "600"]) as process:
            aside = Path(f"{params.pid_file}.new")
            aside.write_text(str(process.pid))
            aside.replace(params.pid_file)
        return {"exit_code": process.returncode}

    def gpu_memory_mib(self, params: GrandchildrenParams) -> int:
        return 0

    def load(self, params: GrandchildrenParams) -> float:
        return 0.1
