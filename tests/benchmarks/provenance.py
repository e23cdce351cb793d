"""Where a measured figure comes from: command, commit, machine and how busy it was."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime

from tests.project import ROOT


def provenance(command: str) -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {
        "command": command,
        "commit": commit.stdout.strip(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_of_others": f"{os.getloadavg()[1]:.1f} in the last five minutes",
        "python": platform.python_version(),
    }
