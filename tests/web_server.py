"""The web process's server in a thread of the test, with its settings."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from cluster_dashboard.operations.processes import web_config


@contextmanager
def served(application: Any) -> Iterator[int]:
    """The port of 127.0.0.1 at which the application answers."""
    config = web_config(application)
    config.lifespan = "off"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
