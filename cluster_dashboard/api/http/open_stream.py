"""Answers that stay open: limited in number, and without a thread or a database connection while they wait."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import cache
from typing import Any, Final

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse

from cluster_dashboard.api.http.problems import Problem
from cluster_dashboard.places import PLACE_RETRY_SECONDS, Places

STREAMS_MAXIMUM: Final = 200
STREAMS_OF_A_CLIENT: Final = 50

PLACES: Final = Places(in_all=STREAMS_MAXIMUM, for_each=STREAMS_OF_A_CLIENT)


class OpenStream(StreamingHttpResponse):
    """Server-sent events. Raises Problem 503 if too many are open."""

    def __init__(self, request: HttpRequest, events: AsyncGenerator[bytes]) -> None:
        client = client_of(request)
        if not PLACES.take(client):
            detail = f"Too many streams are open: the limit is {PLACES.in_all}, and {PLACES.for_each} for each client."
            raise Problem(503, detail, retry_after=PLACE_RETRY_SECONDS)
        # Also if Django drops the answer without closing it.
        self._leave = weakref.finalize(self, PLACES.leave, client)
        super().__init__(_without_thread(events), content_type="text/event-stream")
        self["Cache-Control"] = "no-store"
        self["X-Accel-Buffering"] = "no"  # or nginx would keep the events until its buffer is full

    def close(self) -> None:
        super().close()
        self._leave()


def client_of(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


async def _without_thread(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    await _free_thread()
    async with aclosing(events):
        async for event in events:
            yield event


async def _free_thread() -> None:
    """Django keeps a thread, and that its database connections, for each request until its answer has ended."""
    await sync_to_async(connections.close_all)()
    context = SyncToAsync.thread_sensitive_context.get(None)
    own: Any = None if context is None else SyncToAsync.context_to_thread_executor.get(context)
    if context is not None and own is not None:
        # Closing the answer needs a thread once more: a limit of threads must hold when all streams end together.
        SyncToAsync.context_to_thread_executor[context] = _shared_thread()
        own.shutdown(wait=False)


class _SharedThread(ThreadPoolExecutor):
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: each request that ends calls it, and others still use the thread."""


@cache
def _shared_thread() -> ThreadPoolExecutor:
    return _SharedThread(max_workers=1, thread_name_prefix="streams")
