"""Every process of a cluster: all of them stay in the session that its first process leads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenProcess:
    pid: int
    session: int
    state: str
    title: str


def processes_of(session: int) -> list[SeenProcess]:
    """Zombies do not count: they hold nothing, and wait only for their parent to look."""
    seen = [process for entry in Path("/proc").iterdir() if entry.name.isdigit() and (process := _read(entry))]
    return [process for process in seen if process.session == session and process.state != "Z"]


def is_alive(pid: int) -> bool:
    process = _read(Path("/proc", str(pid)))
    return process is not None and process.state != "Z"


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has taken effect."""
    process = _read(Path("/proc", str(pid)))
    return process is not None and process.state == "T"


def _read(entry: Path) -> SeenProcess | None:
    try:
        stat = (entry / "stat").read_text()
        title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended between two looks
    # pid (name) state parent group session ...: the name may hold spaces and brackets of its own.
    state, _parent, _group, session, *_ = stat.rpartition(")")[2].split()
    return SeenProcess(pid=int(entry.name), session=int(session), state=state, title=title)
