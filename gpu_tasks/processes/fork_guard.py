"""What a fork must not do.

No child is forked while another thread of this process uses the database. A fork copies SQLite's record of locks in
its present state. A child that is forked during a write of the thread `watch` finds the database locked for ever, by a
connection that exists only in its memory; and a connection that is open across a fork can damage the file.

And a process that a job forks never leaves the job's code: behind it are the job process's pipe to the worker, its
claim and its database connection, which are not the child's.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock
from typing import NoReturn

from django.db import connection

_in_use = Lock()


@cache
def install() -> None:
    """For a process that forks and has a thread with a database connection. A second call changes nothing: a fork
    that acquired the lock twice would wait for ever."""
    os.register_at_fork(before=_in_use.acquire, after_in_parent=_in_use.release, after_in_child=_in_use.release)


@contextmanager
def database() -> Iterator[None]:
    """For the threads of a process that forks: they use the database only inside this block."""
    with _in_use:
        try:
            yield
        finally:
            # A connection of psycopg knows its process, so it may stay open; a new one costs a new server process.
            if connection.vendor == "sqlite":
                connection.close()


@contextmanager
def forks_end_here() -> Iterator[None]:
    """A process that was forked inside the block ends where it would leave the block, with the exit code that Python
    would have given it; the process that entered the block goes on."""
    entered = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != entered:
            _end_fork(error)
        raise
    if os.getpid() != entered:
        _end_fork(None)


def _end_fork(error: BaseException | None) -> NoReturn:
    code = 0
    try:
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            code = error.code or 0
        elif isinstance(error, SystemExit):
            code = 1
            print(error.code, file=sys.stderr)
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
    finally:
        # Without what Python and Celery do at a process's end: that is the job process's to do.
        os._exit(code & 0xFF)
