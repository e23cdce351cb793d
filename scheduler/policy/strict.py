"""Strict order: a queue is read only while every queue before it is empty."""

from __future__ import annotations

from collections.abc import Iterable


class StrictOrder:
    """A kombu `queue_order_strategy`: the order in which the queues were given never changes."""

    def __init__(self, queues: Iterable[str] | None = None) -> None:
        self.items = list(queues or ())

    def update(self, queues: Iterable[str]) -> None:
        self.items = list(queues)

    def consume(self, count: int) -> list[str]:
        """The first `count` queues; BRPOP serves them from left to right."""
        return self.items[:count]

    def rotate(self, last_used: str) -> str:
        """Does nothing: the queue just served keeps its place."""
        return last_used
