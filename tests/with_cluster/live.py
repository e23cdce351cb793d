"""The live view as a browser gets it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import connect

from tests.with_cluster.cluster import Cluster

Snapshot = dict[str, Any]


class LiveView:
    def __init__(self, receive: Callable[[float], str | bytes]) -> None:
        self._receive = receive

    def wait_for[T](self, look: Callable[[Snapshot], T | None], *, seconds: float = 10) -> T:
        """What `look` gives for the first snapshot for which it gives anything."""
        deadline = time.monotonic() + seconds
        newest: Snapshot | None = None
        while (left := deadline - time.monotonic()) > 0:
            message = json.loads(self._receive(left))
            if message["type"] != "snapshot":
                continue
            newest = message
            if found := look(message):
                return found
        raise AssertionError(f"no snapshot showed it within {seconds} s; the newest: {newest}")


@contextmanager
def live_view(cluster: Cluster) -> Iterator[LiveView]:
    with connect(f"ws://localhost:{cluster.web_port}/ws/live", origin=cluster.url) as socket:
        yield LiveView(lambda seconds: socket.recv(timeout=seconds))
