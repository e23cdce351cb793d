"""What the kernel reports of a process, where there is a /proc."""

from __future__ import annotations

from pathlib import Path


def stat(pid: int) -> list[str] | None:
    """State, parent, ... (proc(5), from the third field on). None if there is no such process, or no /proc."""
    try:
        # pid (name) state parent ...: the name may contain spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
