"""No child is forked while another thread of this process is inside the database.

A fork copies SQLite's own notes on who holds which lock, in the middle of whatever they say. A child forked
during a write of the warden finds the database locked for ever, by a connection that exists only in its memory;
and a connection that is open across a fork can damage the file.
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
    """For a process that forks and has a thread with a database connection. A second call changes nothing: a lock
    that every fork takes twice is never free."""
    os.register_at_fork(before=_in_use.acquire, after_in_parent=_in_use.release, after_in_child=_in_use.release)


@contextmanager
def database() -> Iterator[None]:
    """For the threads of a process that forks: all their use of the database stands inside this block."""
    with _in_use:
        try:
            yield
        finally:
            # psycopg minds the process it was opened in and may stay open; reopening it costs a new server process.
            if connection.vendor == "sqlite":
                connection.close()
