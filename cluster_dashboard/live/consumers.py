"""The WebSocket of the live view. It is read-only: one whose client sends a message is closed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer

from cluster_dashboard.access import may_read
from cluster_dashboard.live.hub import Hub, hub, unavailable

#: Close code for a client without permission to read (4000 to 4999 are for applications).
FORBIDDEN = 4403
#: Close code for a client that sends a message (RFC 6455: unsupported data).
READ_ONLY = 1003


class LiveConsumer(AsyncWebsocketConsumer):
    @property
    def channel_layer_alias(self) -> str:
        """A name that is not configured: a configured channel layer disconnects a client that waits in it for long."""
        return "none"

    async def connect(self) -> None:
        self._feed: asyncio.Task[None] | None = None
        await self.accept()
        if not may_read(self.scope.get("user")):
            # Accepted first: a browser hides from the page why a socket was refused.
            await self.send(text_data=unavailable("Your session has ended: sign in to see the cluster."))
            await self.close(code=FORBIDDEN)
            return
        self._hub = hub()
        self._hub.enter()
        self._feed = asyncio.create_task(self._send_newest(self._hub))

    async def disconnect(self, code: int) -> None:
        if self._feed is not None:
            self._hub.leave()
            self._feed.cancel()
            with suppress(asyncio.CancelledError):
                await self._feed

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        """Controls are HTTP requests with a session or a token. The web process refuses data before it is here."""
        await self.close(code=READ_ONLY)

    async def _send_newest(self, feed: Hub) -> None:
        version, message = await feed.next(-1 if feed.message else 0)
        if (history := await feed.history()) is not None:
            await self.send(text_data=history)
        while True:
            await self.send(text_data=message)
            version, message = await feed.next(version)
