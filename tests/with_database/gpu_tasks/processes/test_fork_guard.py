"""A child that is forked while a thread writes can use the database; on both databases."""

from __future__ import annotations

import os
from threading import Event, Thread, Timer

import pytest
from django.db import connection, transaction

from gpu_tasks.processes import fork_guard
from scheduler.models import Gpu

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture(scope="module", autouse=True)
def installed():
    fork_guard.install()


def write(failure_rate: float) -> None:
    with transaction.atomic():
        Gpu.objects.filter(index=0).update(failure_rate=failure_rate)


def exit_code_of_a_child_that_writes() -> int:
    """As Celery's pool does it: fork in the main thread, then the database from the child's main thread."""
    connection.close()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if connection.vendor == "sqlite":
                with connection.cursor() as cursor:
                    cursor.execute("PRAGMA busy_timeout = 1000")
            write(0.25)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_a_threads_write_can_write():
    writing, finish = Event(), Event()

    def write_slowly() -> None:
        with fork_guard.database(), transaction.atomic():
            Gpu.objects.filter(index=1).update(failure_rate=0.5)
            writing.set()
            finish.wait(10)
        connection.close()

    thread = Thread(target=write_slowly)
    thread.start()
    writing.wait(10)
    Timer(0.2, finish.set).start()

    code = exit_code_of_a_child_that_writes()

    finish.set()
    thread.join()
    assert code == 0
    assert set(Gpu.objects.values_list("index", "failure_rate")) >= {(0, 0.25), (1, 0.5)}
