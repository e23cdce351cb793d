"""Strict order: a queue is read only while every queue before it is empty."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.rules.queues import reading_order


class StrictOrder:
    """A kombu `queue_order_strategy`: by priority, and by tier within one, however the queues were given.

    So a queue that is added while the worker runs takes its place, not the last one.
    """

    def __init__(self, queues: Iterable[str] | None = None) -> None:
        self.items: list[str] = []
        self.update(queues or ())

    def update(self, queues: Iterable[str]) -> None:
        self.items = sorted(queues, key=reading_order)

    def consume(self, count: int) -> list[str]:
        """The first `count` queues; BRPOP serves them from left to right."""
        return self.items[:count]

    def rotate(self, last_used: str) -> str:
        """Does nothing: the queue just served keeps its place."""
        return last_used
