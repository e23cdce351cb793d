"""No child is forked while another thread of this process uses the database.

A fork copies SQLite's record of locks in its present state. A child that is forked during a write of the thread
`watch` finds the database locked for ever, by a connection that exists only in its memory; and a connection that is
open across a fork can damage the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

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
