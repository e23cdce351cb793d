"""How many clients may hold something open at once: in all, and each of them."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

#: When a client that was refused may ask again.
PLACE_RETRY_SECONDS: Final = 10


@dataclass(slots=True)
class Places:
    """Safe to use from several threads. A client is an address: behind a proxy that is not trusted with
    X-Forwarded-For all clients are one."""

    in_all: int
    for_each: int
    _taken: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, client: str) -> bool:
        """Whether there was a place; if so, `leave` frees it."""
        with self._lock:
            if self._taken.total() >= self.in_all or self._taken.get(client, 0) >= self.for_each:
                return False
            self._taken[client] += 1
            return True

    def leave(self, client: str) -> None:
        with self._lock:
            self._taken[client] -= 1
            if self._taken[client] == 0:
                del self._taken[client]

    @property
    def taken(self) -> int:
        with self._lock:
            return self._taken.total()
