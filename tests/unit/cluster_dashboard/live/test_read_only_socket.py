"""The web process's sockets, by a real server and real frames: nothing that a client sends is kept."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close, Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from cluster_dashboard.live.read_only_socket import (
    INBOUND_MAXIMUM_BYTES,
    LimitedSockets,
    ReadOnlySocket,
)
from cluster_dashboard.operations.processes import web_config
from cluster_dashboard.places import Places
from tests.web_server import served

UNSUPPORTED_DATA, TOO_BIG = 1003, 1009


class Application:
    """Accepts each socket, and notes what it receives until the socket is closed."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.closed = threading.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.closed.release()
                return
            self.received.append(message["type"])


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def url(application: Application) -> Iterator[str]:
    with served(application) as port:
        yield f"ws://127.0.0.1:{port}/"


@contextmanager
def opened(url: str) -> Iterator[socket.socket]:
    """A client that reads only on demand."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as raw:
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += raw.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 ")
        yield raw


def close_code(client: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=10)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("message", ["x", b"x"])
def test_socket_of_a_client_that_sends_data_is_closed(
    application: Application, url: str, compression: Any, message: Any
) -> None:
    with connect(url, compression=compression) as client:
        client.send(message)

        assert close_code(client) == UNSUPPORTED_DATA

    assert application.closed.acquire(timeout=10)
    assert application.received == []


def test_unfinished_message_is_enough(application: Application, url: str) -> None:
    with opened(url) as raw:
        raw.sendall(Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=True))

        close, content = raw.recv(2), raw.recv(100)
        assert (close[0] & 0x0F, Close.parse(content).code) == (Opcode.CLOSE, UNSUPPORTED_DATA)
        assert raw.recv(100) == b""

    assert application.received == []


@pytest.mark.parametrize("compression", ["deflate", None])
def test_long_message_is_not_read(application: Application, url: str, compression: Any) -> None:
    """16 MiB of zeros are 16 kB on the wire when they are compressed."""
    with connect(url, compression=compression) as client:
        client.send(b"\0" * (INBOUND_MAXIMUM_BYTES + 1))

        assert close_code(client) == TOO_BIG

    assert application.closed.acquire(timeout=10)
    assert application.received == []


def test_pongs_that_a_client_does_not_read_do_not_fill_the_memory(url: str) -> None:
    pings = Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 1000

    def send_for_ever(raw: socket.socket) -> None:
        while True:
            raw.sendall(pings)

    with opened(url) as raw, pytest.raises(ConnectionError):
        send_for_ever(raw)


def test_socket_that_has_no_place_is_refused_and_its_client_comes_back_later() -> None:
    places = Places(in_all=2, for_each=2)
    application = Application()
    with served(LimitedSockets(application, places)) as port, ExitStack() as open_ones:
        url = f"ws://127.0.0.1:{port}/"
        for _ in range(2):
            open_ones.enter_context(connect(url))
        with pytest.raises(InvalidStatus) as refused:
            connect(url)

        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) > 0
        assert "Too many live views" in (refused.value.response.body or b"").decode()

        open_ones.close()
        assert application.closed.acquire(timeout=10)
        assert application.closed.acquire(timeout=10)
        with connect(url):
            assert places.taken == 1


def test_the_web_process_serves_its_sockets_so() -> None:
    config = web_config()

    assert (config.ws, config.ws_max_size) == (ReadOnlySocket, INBOUND_MAXIMUM_BYTES)
