"""The live view's sockets only send: they are limited in number, and one whose client sends data is closed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from cluster_dashboard.places import PLACE_RETRY_SECONDS, Places

type App = Callable[[Any, Any, Any], Awaitable[Any]]

#: A socket takes up to 200 kB: the state of its compression, and what its client has not read yet.
SOCKETS_MAXIMUM: Final = 500
SOCKETS_OF_A_CLIENT: Final = 100

#: The largest message that is read at all, also when it is compressed or comes in pieces.
INBOUND_MAXIMUM_BYTES: Final = 1024
#: Pongs that a client does not read would fill the memory.
UNREAD_MAXIMUM_BYTES: Final = 256 * 1024


class LimitedSockets:
    """In front of everything that costs something, the look-up of the session too."""

    def __init__(self, app: App, places: Places | None = None) -> None:
        self._app = app
        self._places = places or Places(in_all=SOCKETS_MAXIMUM, for_each=SOCKETS_OF_A_CLIENT)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = str((scope.get("client") or ("",))[0])
        if not self._places.take(client):
            await receive()
            await _refuse(scope, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._places.leave(client)


async def _refuse(scope: Any, send: Any) -> None:
    """503, after which the page tries again, later and later."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    status = HTTPStatus.SERVICE_UNAVAILABLE
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status,
        "detail": "Too many live views are open.",
        "errors": [],
    }
    headers = [(b"content-type", b"application/problem+json"), (b"retry-after", str(PLACE_RETRY_SECONDS).encode())]
    await send({"type": "websocket.http.response.start", "status": int(status), "headers": headers})
    await send({"type": "websocket.http.response.body", "body": json.dumps(problem).encode()})


class ReadOnlySocket(WebSocketsSansIOProtocol):
    """For uvicorn's setting `ws`."""

    def handle_text(self, event: Frame) -> None:
        self._refuse_data()

    def handle_bytes(self, event: Frame) -> None:
        self._refuse_data()

    def handle_cont(self, event: Frame) -> None:
        self._refuse_data()

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > UNREAD_MAXIMUM_BYTES:
            self.transport.abort()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        # A client that reads nothing would keep the socket open until it has read all.
        self.transport.abort()

    def handle_parser_exception(self) -> None:
        """Also called by uvicorn, for a message that is too long."""
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
        if self.conn.close_sent is None or self.transport.get_write_buffer_size() > 0:
            # It was never opened, or its client does not read: there is nothing to wait for.
            self.transport.abort()

    def _refuse_data(self) -> None:
        if self.close_sent:
            return
        self.conn.fail(CloseCode.UNSUPPORTED_DATA, "this socket is read-only")
        self.handle_parser_exception()
