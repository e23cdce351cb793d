"""The WebSocket as a browser sees it, on both databases and a real Valkey."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.conf import settings as django_settings

from cluster_dashboard.asgi import application
from cluster_dashboard.live import hub as hub_module
from cluster_dashboard.live.consumers import FORBIDDEN, READ_ONLY
from scheduler.models import Control
from tests.build import queued

pytestmark = pytest.mark.usefixtures("gpus", "control", "redis")

ORIGIN = [(b"origin", b"http://localhost")]


@pytest.fixture(autouse=True)
def own_hub():
    hub_module.hub.cache_clear()
    yield
    hub_module.hub.cache_clear()


class Socket(ApplicationCommunicator):
    """A browser's end of the connection, in the words of ASGI."""

    def __init__(self, headers: list[tuple[bytes, bytes]] = ORIGIN, path: str = "/ws/live") -> None:
        scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers, "subprotocols": []}
        super().__init__(application, scope)

    async def connect(self) -> bool:
        await self.send_input({"type": "websocket.connect"})
        return (await self.receive_output(timeout=10))["type"] == "websocket.accept"

    async def say(self, **content: Any) -> None:
        await self.send_input({"type": "websocket.receive", **content})

    async def receive(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await self.receive_output(timeout=10))["text"])
        return found

    async def leave(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(timeout=10)
        await hub_module.hub().stop()


def test_a_client_gets_the_history_first_and_then_newer_and_newer_snapshots():
    job = queued()

    async def watch() -> list[dict[str, Any]]:
        socket = Socket()
        assert await socket.connect()
        found = [await socket.receive() for _ in range(3)]
        await socket.leave()
        return found

    history, first, second = async_to_sync(watch)()

    assert (history["type"], first["type"]) == ("history", "snapshot")
    assert first["seq"] < second["seq"]
    assert [waiting["id"] for waiting in first["next"]] == [job.id]


@pytest.mark.parametrize("content", [{"text": '{"type": "control", "paused": true}'}, {"bytes": b"\x00\xff"}])
def test_a_client_that_says_something_is_closed(content: dict[str, Any]) -> None:
    async def talk() -> dict[str, Any]:
        socket = Socket()
        await socket.connect()
        await socket.say(**content)
        while (output := await socket.receive_output(timeout=10))["type"] == "websocket.send":
            pass
        await socket.leave()
        return output

    assert async_to_sync(talk)() == {"type": "websocket.close", "code": READ_ONLY}
    assert Control.objects.get().paused is False


def test_a_socket_that_does_not_exist_is_refused_without_an_error():
    async def connect() -> bool:
        return await Socket(path="/ws/other").connect()

    assert async_to_sync(connect)() is False


def test_a_page_of_another_site_is_refused():
    async def connect() -> bool:
        return await Socket([(b"origin", b"http://evil.example")]).connect()

    assert async_to_sync(connect)() is False


def test_a_private_cluster_tells_a_visitor_to_sign_in(settings):
    settings.ENVIRONMENT = django_settings.ENVIRONMENT.model_copy(update={"public_read": False})

    async def connect() -> tuple[dict[str, Any], dict[str, Any]]:
        socket = Socket()
        await socket.connect()
        return await socket.receive(), await socket.receive_output(timeout=5)

    message, closing = async_to_sync(connect)()

    assert (message["type"], "sign in" in message["message"]) == ("unavailable", True)
    assert (closing["type"], closing["code"]) == ("websocket.close", FORBIDDEN)
