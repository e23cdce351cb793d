"""The supervisor's process, from its first line to its last."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time

from django.conf import settings
from django.db import connections
from setproctitle import setproctitle

from cluster_dashboard.operations import broker, first_start, processes
from cluster_dashboard.operations.run_files import remove_pid, write_pid
from cluster_dashboard.operations.supervisor import before
from cluster_dashboard.operations.supervisor.output import OWN_NAME, Output, OutputHandler
from cluster_dashboard.operations.supervisor.summary import summary
from cluster_dashboard.operations.supervisor.supervisor import Supervisor
from gpu_tasks.processes import prctl
from scheduler.logs import event_logger
from scheduler.loops.ownership import require_ownership
from scheduler.redis_client import connect
from scheduler.rules.configuration import EnvironmentInvalid

log = event_logger("cluster")


def run() -> int:
    """Returns the exit code of `up`: 0 after a requested stop, another one if it could not start."""
    os.setpgid(0, 0)
    prctl.become_subreaper()
    setproctitle("gpu-cluster: supervisor")
    try:
        lock = before.take_cluster_lock()
        before.check_ports()
        if settings.BROKER_EMBEDDED:
            broker.make_socket_dir()
            broker.server_command()
        else:
            broker.check_given_broker()
        return _supervise(lock)
    except (EnvironmentInvalid, before.AlreadyRunning) as error:
        print(error, file=sys.stderr)
        return error.exit_code if isinstance(error, EnvironmentInvalid) else 1


def _supervise(lock: int) -> int:
    began = time.monotonic()
    output = Output(folder=settings.LOG_DIR, json=settings.ENVIRONMENT.log_format == "json")
    logging.getLogger().handlers = [OutputHandler(output)]
    processes.name_json_records(OWN_NAME)
    supervisor = Supervisor(processes.all_processes(), output, lock)
    supervisor.listen()
    write_pid("up", os.getpid())
    log.info("cluster_starting", state=settings.STATE_DIR, gpus=settings.ENVIRONMENT.gpu_count)
    first_start.prepare_database()
    if not settings.BROKER_EMBEDDED:
        # An embedded broker is this state folder's alone, and is not running yet; each process checks it later.
        require_ownership(connect())
    connections.close_all()  # a connection shared by a fork answers the wrong one
    log.info("database_ready", after_s=f"{time.monotonic() - began:.1f}")
    gc.freeze()  # what the set-up has loaded is shared too
    _until_stopped(supervisor, output, began)
    if settings.BROKER_EMBEDDED:
        broker.remove_socket_dir()
    log.info("cluster_stopped")
    output.terminal.flush(wait_seconds=0.5)
    remove_pid("up", os.getpid())
    return 0


def _until_stopped(supervisor: Supervisor, output: Output, began: float) -> None:
    shown = False
    while not supervisor.stopped:
        supervisor.tick()
        if supervisor.all_ready and not shown:
            shown = True
            log.info("cluster_ready", after_s=f"{time.monotonic() - began:.1f}", web=before.address("web"))
            if not output.json:
                for line in summary(show_password=output.terminal.is_tty):
                    output.terminal.print(line)
    supervisor.end_what_is_left()
