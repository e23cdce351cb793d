"""The roles of the cluster, and how each one starts in the process that calls `run`."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.signals import request_finished
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from setproctitle import setproctitle

from cluster_dashboard.environment import LogFormat
from cluster_dashboard.operations import broker
from cluster_dashboard.operations.run_files import LockHeld, remove_pid, take_lock, write_pid
from scheduler.logs import event_logger
from scheduler.loops.ticker import Sign
from scheduler.loops.vitals import Vitals
from scheduler.rules.configuration import EnvironmentInvalid

if TYPE_CHECKING:
    import uvicorn

log = event_logger(__name__)

#: sysexits.h's "temporary failure": another one is still running, try again later.
EXIT_LOCKED: Final = 75

#: One thread for each process of the cluster: eight workers with a BLAS pool each would fight for the same cores.
#: They act only if they are set before numpy is imported.
BLAS_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Above every number of a GPU: NVML finds none.
NO_DEVICE: Final = 10_000

#: How long the web process waits for a lock in the database before it answers 503.
WEB_LOCK_SECONDS: Final = 5.0


class Role(StrEnum):
    """In the order in which they start."""

    BROKER = "broker"
    SCHEDULER = "scheduler"
    BEAT = "beat"
    GPU = "gpu"
    WEB = "web"
    FLOWER = "flower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of the cluster; only GPU workers have an index."""

    role: Role
    index: int | None = None

    @property
    def name(self) -> str:
        return self.role if self.index is None else f"{self.role}-{self.index}"

    def health_name(self, gpu_offset: int) -> str:
        """Of its health file: a GPU worker's has the number of the GPU in the cluster."""
        return self.name if self.index is None else f"{self.role}-{self.index + gpu_offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """exclusive: whether a second one on the same state folder has to wait for the end of the first."""

    start: Callable[[Process], None]
    exclusive: bool = False


def parse(words: str, index: int | None = None) -> Process:
    """`gpu-3`, or `gpu` with index 3, or a role without index. Raises ValueError with what is accepted."""
    role_name, _, number = words.partition("-")
    if number and index is not None:
        raise ValueError(f"{words}: the index is given twice")
    if role_name not in set(Role):
        raise ValueError(f"{words}: no such role; expected one of {', '.join(Role)} (GPU workers: gpu-0, gpu-1, ...)")
    role = Role(role_name)
    if number:
        if not number.isdecimal():
            raise ValueError(f"{words}: the index of a GPU is a whole number")
        index = int(number)
    if (role is Role.GPU) != (index is not None):
        raise ValueError(f"{words}: " + ("which GPU? gpu-0, gpu-1, ..." if role is Role.GPU else "has no index"))
    return Process(role=role, index=index)


def all_processes() -> list[Process]:
    """What one machine runs, in the order in which it starts."""
    embedded = [Process(role=Role.BROKER)] if settings.BROKER_EMBEDDED else []
    workers = [Process(role=Role.GPU, index=index) for index in range(settings.ENVIRONMENT.gpu_count)]
    return [
        *embedded,
        Process(role=Role.SCHEDULER),
        Process(role=Role.BEAT),
        *workers,
        Process(role=Role.WEB),
        Process(role=Role.FLOWER),
    ]


def run(process: Process) -> int:
    """Runs as this process until it is stopped; returns its exit code."""
    os.umask(0o077)
    limit_blas_threads()
    entry, name, pid = ENTRIES[process.role], process.name, os.getpid()
    try:
        lock = take_lock(name) if entry.exclusive else None
    except LockHeld as held:
        print(f"{held}: gave up waiting", flush=True)
        return EXIT_LOCKED
    if lock is not None and process.role is Role.BROKER:
        # Held for as long as the server that this process becomes.
        os.set_inheritable(lock, True)  # noqa: FBT003
    setproctitle(f"gpu-cluster: {name}")
    name_json_records(name)
    write_pid(name, pid)
    try:
        entry.start(process)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        remove_pid(name, pid)
    return 0


def name_json_records(name: str) -> None:
    """Adds the process's name to each record; on a terminal the supervisor prints it before the line."""
    if settings.ENVIRONMENT.log_format is not LogFormat.JSON:
        return

    def add_component(record: logging.LogRecord) -> bool:
        vars(record).setdefault("component", name)
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(add_component)


def limit_blas_threads() -> None:
    for variable in BLAS_VARIABLES:
        os.environ.setdefault(variable, "1")


# --- How each role starts. Imports are inside: no process loads the libraries of another. -----


def _broker(_process: Process) -> None:
    broker.exec_server()


def _scheduler(_process: Process) -> None:
    from scheduler.loops.process import main  # noqa: PLC0415

    broker.refuse_eviction()
    main()


def _beat(_process: Process) -> None:
    from scheduler.loops.celery_beat import beat_main  # noqa: PLC0415

    beat_main()


def _gpu(process: Process) -> None:
    assert process.index is not None  # noqa: S101 (parse and all_processes see to it)
    place = process.index if settings.ENVIRONMENT.gpu_device is None else settings.ENVIRONMENT.gpu_device
    device = device_at(place, settings.CUDA_DEVICES)
    # Pinned before anything of CUDA is loaded; a GPU that does not exist must be none, not the first one.
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if device is None else str(device)
    from gpu_tasks.worker.main import main  # noqa: PLC0415

    main(process.index + settings.ENVIRONMENT.gpu_offset, device=NO_DEVICE if device is None else device)


def device_at(place: int, visible: Sequence[str] | None) -> int | str | None:
    """The GPU that CUDA_VISIBLE_DEVICES has at this place, by its number or UUID on this machine; None: there is none.

    visible: None if the variable is not set. Raises EnvironmentInvalid for a part of a GPU (MIG): its utilization,
    temperature and processes are not its own.
    """
    if visible is None:
        return place
    if place >= len(visible):
        return None
    name = visible[place].strip()
    if name.isdecimal():
        return int(name)
    if name.startswith("GPU-"):
        return name
    words = "expected: numbers or UUIDs (GPU-...) of whole GPUs, separated by commas"
    raise EnvironmentInvalid(f"CUDA_VISIBLE_DEVICES: {name[:60]!r} is not accepted; {words}")


def web_config(application: object = "cluster_dashboard.asgi:application") -> uvicorn.Config:
    import uvicorn  # noqa: PLC0415

    from cluster_dashboard.live.read_only_socket import INBOUND_MAXIMUM_BYTES, ReadOnlySocket  # noqa: PLC0415

    return uvicorn.Config(
        application,  # type: ignore[arg-type] # an ASGI application, or its address
        host=settings.ENVIRONMENT.bind_host,
        port=settings.ENVIRONMENT.web_port,
        ws=ReadOnlySocket,
        ws_max_size=INBOUND_MAXIMUM_BYTES,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
        server_header=False,
    )


def _web(_process: Process) -> None:
    import uvicorn  # noqa: PLC0415

    from cluster_dashboard.api.follow import end_streams  # noqa: PLC0415

    # Each request runs in a thread of its own here: a connection kept for the next one would be kept for nobody.
    request_finished.connect(_close_connections)
    connection_created.connect(_wait_less)
    # uvicorn raises the signal that stopped it once more when it is done: that must end in a clean exit.
    signal.signal(signal.SIGTERM, lambda *_: exit_cleanly())
    sign = _watched("web")

    class Server(uvicorn.Server):
        async def on_tick(self, counter: int) -> bool:
            sign.worked()
            return await super().on_tick(counter)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            end_streams()
            super().handle_exit(sig, frame)

    Server(web_config()).run()


def _watched(name: str) -> Sign:
    """For a process with an event loop: one that stands still ends."""
    sign = Sign(name)
    Vitals(Path(settings.RUN_DIR, f"{name}.health"), [sign]).start()
    return sign


def _close_connections(**_: object) -> None:
    connections.close_all()


def _wait_less(connection: BaseDatabaseWrapper, **_: object) -> None:
    """A request waits only briefly for a lock, and then answers 503; a worker's result waits longer."""
    if connection.vendor == "sqlite":
        statement = f"PRAGMA busy_timeout = {WEB_LOCK_SECONDS * 1000:.0f}"
    else:
        statement = f"SET lock_timeout = '{WEB_LOCK_SECONDS * 1000:.0f}ms'"
    with connection.cursor() as cursor:
        cursor.execute(statement)


def exit_cleanly() -> None:
    raise SystemExit(0)


def _flower(_process: Process) -> None:
    import flower.app  # noqa: PLC0415
    import flower.views  # noqa: PLC0415
    from flower.options import options as flower_options  # noqa: PLC0415
    from tornado.ioloop import PeriodicCallback  # noqa: PLC0415

    from cluster_dashboard.operations.flower import OwnBroker, PromptEvents, close_metrics  # noqa: PLC0415
    from scheduler.celery import app  # noqa: PLC0415

    password = settings.ENVIRONMENT.flower_password
    if password is None:
        raise EnvironmentInvalid("FLOWER_PASSWORD: not generated yet; run `gpuc setup` first")
    # Directly: a variable or an argument would be split at each comma, and what is before the first would be enough.
    flower_options.basic_auth = [f"admin:{password}"]
    options = {
        "address": settings.ENVIRONMENT.bind_host,
        "port": settings.ENVIRONMENT.flower_port,
        # Workers send their events anyway; asking them again every 5 s costs each of them a wake-up.
        "enable_events": "false",
        "max_tasks": 5000,
        # Its password would shut workers down, and its orders bypass the claims; the page and gpuc do all of it.
        "read_only": str(not settings.ENVIRONMENT.flower_control).lower(),
        "conf": os.devnull,  # not a flowerconfig.py that is in this folder
        "logging": "none",  # ours is set up already
    }
    sign = _watched("flower")
    PeriodicCallback(sign.worked, 1000).start()
    # Flower's command makes its application itself, and takes no other receiver.
    flower.app.Events = PromptEvents
    flower.views.Broker = OwnBroker
    if not settings.ENVIRONMENT.public_read:
        close_metrics()
    # Flower asks every worker at once from threads of its own. With a limited pool they take all connections, and
    # its event receiver waits for one for ever: no task is ever shown.
    app.conf.broker_pool_limit = None
    app.start(["-q", "flower", *(f"--{name}={value}" for name, value in options.items())])


ENTRIES: Final[dict[Role, Entry]] = {
    Role.BROKER: Entry(start=_broker, exclusive=True),
    Role.SCHEDULER: Entry(start=_scheduler),
    Role.BEAT: Entry(start=_beat, exclusive=True),
    Role.GPU: Entry(start=_gpu, exclusive=True),
    Role.WEB: Entry(start=_web),
    Role.FLOWER: Entry(start=_flower),
}
