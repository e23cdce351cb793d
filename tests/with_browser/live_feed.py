"""A proxy between the page and /ws/live: reads, changes or blocks the messages of the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, WebSocketRoute

Message = dict[str, Any]


class LiveFeed:
    """Takes effect when the page is loaded again. While `cut` is true every connection is closed."""

    def __init__(self, page: Page, change: Callable[[Message], None] = lambda message: None) -> None:
        self.cut = False
        self.snapshots: list[Message] = []
        self._change = change
        self._open: list[WebSocketRoute] = []
        page.route_web_socket("**/ws/live", self._route)

    def cut_off(self) -> None:
        self.cut = True
        for route in self._open:
            route.close()
        self._open.clear()

    def restore(self) -> None:
        self.cut = False

    def _route(self, route: WebSocketRoute) -> None:
        if self.cut:
            route.close()
            return
        self._open.append(route)
        route.connect_to_server().on_message(lambda text: self._forward(route, text))

    def _forward(self, route: WebSocketRoute, text: str | bytes) -> None:
        if self.cut:
            return
        message = json.loads(text)
        self._change(message)
        if message["type"] == "snapshot":
            self.snapshots.append(message)
        route.send(json.dumps(message))
