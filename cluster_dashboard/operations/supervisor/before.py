"""What is checked before the first process starts: no other cluster on the state folder, free ports."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket

from django.conf import settings

from cluster_dashboard.operations.supervisor.readiness import local_host
from gpu_tasks.processes.cluster_pids import lock_path
from scheduler.rules.configuration import EnvironmentInvalid


class AlreadyRunning(Exception):
    """Another cluster is running on this state folder; the message says where."""


def take_cluster_lock() -> int:
    """The descriptor of the lock that only one supervisor for each state folder can hold."""
    descriptor = os.open(lock_path("up"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning(_where(os.read(descriptor, 4096))) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps({"pid": os.getpid(), "web": address("web")}).encode())
    return descriptor


def _where(written: bytes) -> str:
    try:
        found = json.loads(written)
    except ValueError:
        found = None
    holder = found if isinstance(found, dict) else {}  # torn
    pid, web = holder.get("pid", "?"), holder.get("web", "?")
    return (
        f"The cluster is already running on {settings.STATE_DIR} (process {pid}): {web}\n"
        f"Stop it with Ctrl-C where it runs, or with: kill {pid}"
    )


def address(what: str) -> str:
    """The URL that a browser on this machine opens."""
    port = settings.ENVIRONMENT.flower_port if what == "flower" else settings.ENVIRONMENT.web_port
    host = local_host()
    if host == "127.0.0.1":
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def check_ports() -> None:
    """Raises EnvironmentInvalid for a port in use, and for an address that is not this machine's."""
    held: list[socket.socket] = []
    try:
        for variable in ("WEB_PORT", "FLOWER_PORT"):
            held += _listening(variable, getattr(settings.ENVIRONMENT, variable.lower()))
    finally:
        for each in held:
            each.close()


def _listening(variable: str, port: int) -> list[socket.socket]:
    """Sockets on every address of BIND_HOST; kept open by the caller, so that equal ports are found too."""
    host = settings.ENVIRONMENT.bind_host
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise EnvironmentInvalid(f"BIND_HOST: {host!r} is not an address of this machine: {error.strerror}") from None
    sockets: list[socket.socket] = []
    refusal = "nothing to listen on"
    for family, kind, protocol, _name, place in found:
        try:
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(place)
            listener.listen()
        except PermissionError:
            raise EnvironmentInvalid(f"{variable}: {port} needs privileges; expected: a free TCP port") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EnvironmentInvalid(
                    f"{variable}: {port} on {host} is in use by another program; expected: a free TCP port"
                ) from None
            refusal = error.strerror or str(error)
            sockets.remove(listener)
    if not sockets:
        raise EnvironmentInvalid(f"BIND_HOST: {host!r} is not an address of this machine: {refusal}")
    return sockets
