"""The embedded broker's data: checked before each start, and set aside if the server cannot load it.

After a loss of power an append-only file may end in zeros or in the middle of a command. The server ends at zeros, and
so would each of its restarts. What it holds is disposable: waiting jobs get their hints again from the database.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django.db import connection
from redis import Redis
from redis.exceptions import RedisError

from gpu_tasks.processes import prctl
from scheduler.database_errors import DatabaseFailure
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent

log = event_logger(__name__)

#: Where the server keeps it, inside its folder.
DATA_NAME: Final = "appendonlydir"
#: Of a folder that was set aside. Only the newest is kept: a disk that breaks files must not be filled with them.
ASIDE: Final = "unreadable-"
#: For the largest file that maxmemory allows, on a slow disk.
LOAD_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.02

#: The server's words about its files. With other words it has another trouble, and its data stays where it is.
_ABOUT_DATA: Final = re.compile(r"aof|append.?only|rdb|manifest", re.IGNORECASE)


def check_data(folder: Path, command: Callable[[Path], Sequence[str]], socket: Path) -> None:
    """Loads the data of `folder` once in a server of its own, and sets it aside if that server ends.

    command: the server's command line with a given socket. socket: for this server alone.
    """
    data = folder / DATA_NAME
    if not data.exists():
        return
    reason = _why_not_loaded(command(socket), socket)
    socket.unlink(missing_ok=True)
    if reason is not None and _ABOUT_DATA.search(reason):
        _set_aside(data, reason)


def _why_not_loaded(command: Sequence[str], socket: Path) -> str | None:
    """The server's last words; None if it loaded the data, or takes longer than LOAD_SECONDS."""
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=lambda: prctl.set_death_signal(signal.SIGKILL),  # noqa: PLW1509 (this process has one thread)
    )
    client = Redis(unix_socket_path=str(socket), socket_timeout=1)
    deadline = time.monotonic() + LOAD_SECONDS
    while server.poll() is None and time.monotonic() < deadline and not _answers(client):
        time.sleep(_LOOK_SECONDS)
    has_ended = server.poll() is not None
    client.close()
    if not has_ended:
        server.terminate()
    said, _ = server.communicate()
    lines = said.strip().splitlines() or [f"exit code {server.returncode}"]
    return lines[-1] if has_ended else None


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False  # it is loading


def _set_aside(data: Path, reason: str) -> None:
    for older in data.parent.glob(f"{ASIDE}*"):
        shutil.rmtree(older, ignore_errors=True)
    aside = data.with_name(f"{ASIDE}{datetime.now(UTC):%Y%m%d-%H%M%S}")
    data.rename(aside)
    log.error("broker_data_set_aside", folder=aside, reason=reason)
    message = (
        f"The broker's data could not be read; the broker starts empty, and jobs get new hints. Set aside: {aside}"
    )
    try:
        ClusterEvent.objects.create(kind="broker", message=message[:300])
    except DatabaseFailure as error:
        log.warning("event_not_recorded", error=error)
    finally:
        connection.close()
