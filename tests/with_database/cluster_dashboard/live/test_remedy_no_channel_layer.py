"""F15: whoever only watches is not ended by the time limit of a channel layer's connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer
from redis.exceptions import TimeoutError as RedisTimeoutError

from cluster_dashboard.live import hub as hub_module
from tests.with_database.cluster_dashboard.live.test_live_socket import Socket, own_hub

__all__ = ["own_hub"]

pytestmark = pytest.mark.usefixtures("gpus", "control", "redis")

#: channels-redis waits in a blocking read, and redis-py 8 ends one after 5 s; here it need not take so long.
IDLE_SECONDS = 0.2


class ImpatientLayer(InMemoryChannelLayer):
    """Fails as channels-redis does under redis-py 8 when nothing was sent to a consumer for a while."""

    async def receive(self, channel: str) -> Any:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                return await super().receive(channel)
        except TimeoutError:
            raise RedisTimeoutError("Timeout reading from socket") from None


@pytest.fixture(autouse=True)
def _impatient_layer(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.ImpatientLayer"}}


async def snapshots_for(seconds: float) -> int:
    """How many a client gets to whom nobody sends anything by a layer."""
    socket, found = Socket(), 0
    assert await socket.connect()
    until = asyncio.get_running_loop().time() + seconds
    try:
        while asyncio.get_running_loop().time() < until:
            found += (await socket.receive())["type"] == "snapshot"
    except BaseException:
        await hub_module.hub().stop()
        raise
    await socket.leave()
    return found


def test_a_client_that_is_idle_for_longer_than_the_layers_limit_still_gets_snapshots():
    assert async_to_sync(snapshots_for)(IDLE_SECONDS * 8) >= 2


@pytest.mark.mutant("channel_layer")
def test_without_it_the_layer_ends_the_client():
    with pytest.raises(RedisTimeoutError):
        async_to_sync(snapshots_for)(IDLE_SECONDS * 8)
