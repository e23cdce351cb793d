"""The WebSocket of the live view. Read-only: what a client sends is ignored."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer

from cluster_dashboard.access import may_read
from cluster_dashboard.live.hub import Hub, hub, unavailable

#: Close code for a client that may not read (4000 to 4999 are an application's own).
FORBIDDEN = 4403


class LiveConsumer(AsyncWebsocketConsumer):
    @property
    def channel_layer_alias(self) -> str:
        """None that exists: a layer that is configured for something else would end whoever waits in it for long."""
        return "none"

    async def connect(self) -> None:
        self._feed: asyncio.Task[None] | None = None
        await self.accept()
        if not may_read(self.scope.get("user")):
            # Accepted first: a socket that is refused at once tells its page nothing.
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
        """Controls are HTTP requests with a session or a token; nothing can be asked for here."""

    async def _send_newest(self, feed: Hub) -> None:
        version, message = await feed.next(-1 if feed.message else 0)
        if (history := await feed.history()) is not None:
            await self.send(text_data=history)
        while True:
            await self.send(text_data=message)
            version, message = await feed.next(version)
