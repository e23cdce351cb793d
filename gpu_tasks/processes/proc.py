"""What the kernel reports of a process, where there is a /proc."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def stat(pid: int) -> list[str] | None:
    """State, parent, ... (proc(5), from the third field on). None if there is no such process, or no /proc."""
    try:
        # pid (name) state parent ...: the name may contain spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def children_of(pid: int) -> list[int]:
    """Every child of every thread of the process, adopted ones and zombies included; none where there is no /proc."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found
