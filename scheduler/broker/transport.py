"""Stands in front of every consumer: a message that this cluster did not send goes to the dead letters.

kombu crashes on several kinds of malformed messages, and puts them back at the head of the queue at each shutdown:
one such message would stop every worker that reads it. So nothing from Redis reaches kombu as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, Final

from kombu.transport.redis import Channel, QoS, Transport
from kombu.utils.encoding import bytes_to_str
from redis import Redis
from redis.exceptions import ResponseError

from scheduler.broker.dead_letters import bury
from scheduler.broker.message_format import NotOurs, clean_broadcast, clean_message
from scheduler.redis_client import KEY_PREFIX, connect

#: What workers answer to Flower and `celery inspect` comes back through queues of their own. No worker reads them.
_ANSWERS: Final = ".reply.celery.pidbox"


def set_aside(client: Redis, queues: Iterable[str]) -> None:
    """What has the name of a queue and is no list stops all who read or fill the queue: it gets another name."""
    for queue in queues:
        key = f"{KEY_PREFIX}{queue}"
        kind: Any = client.type(key)
        if kind not in {b"list", b"none"}:
            client.rename(key, f"{KEY_PREFIX}set-aside:{queue}")
            bury(
                client,
                b"",
                queue,
                f"the queue's key held a {kind.decode()}; it is now called {KEY_PREFIX}set-aside:{queue}",
            )


@cache
def _own_connection() -> Redis:
    """The consumer's own waits in BRPOP."""
    return connect()


class FrontQoS(QoS):
    """kombu's, but a hint that is given back is taken next, as it was: kombu would put it behind the whole window."""

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if requeue:
            self.restore_by_tag(delivery_tag)
        self.ack(delivery_tag)

    def restore_by_tag(self: Any, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """What was taken and not acknowledged goes back to its queue, and passes the guard there. A note of it that
        cannot be read would keep all others from going back, at every attempt."""
        try:
            QoS.restore_by_tag(self, tag, client, leftmost)
        except (ValueError, TypeError, RecursionError) as error:
            with self.channel.conn_or_acquire(client) as redis:
                bury(_own_connection(), redis.hget(self.unacked_key, tag) or b"", self.unacked_key, f"unread: {error}")
            self._remove_from_indices(tag).execute()


class GuardedChannel(Channel):
    """kombu's channel, but whatever comes from Redis passes the guard first."""

    QoS = FrontQoS
    #: The tasks of this process, by name; scheduler.celery, which makes them, sets it.
    known_tasks: ClassVar[Callable[[], Mapping[str, object]]] = staticmethod(dict)

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)  # type: ignore[misc]
        if not asynchronous:
            return client
        parse = client.parse_response

        def guarded(connection: Any, command_name: str, **options: Any) -> Any:
            if command_name != "BRPOP":
                return parse(connection, command_name, **options)
            try:
                reply = parse(connection, command_name, **options)
            except ResponseError as error:
                if not str(error).startswith("WRONGTYPE"):
                    raise
                set_aside(_own_connection(), self.active_queues)
                return None
            return self._checked(*reply) if reply else reply

        client.parse_response = guarded
        return client

    def _size(self, queue: str) -> int:
        """A consumer asks for the length of each queue before its first read: an error would end each of its starts."""
        try:
            return int(super()._size(queue))
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            set_aside(_own_connection(), [queue])
            return 0

    def _checked(self, key: bytes | str, item: bytes) -> tuple[bytes | str, bytes] | None:
        """None is what an empty queue answers: the consumer simply goes on."""
        queue = key.decode() if isinstance(key, bytes) else key
        if queue.endswith(_ANSWERS):
            return key, item
        try:
            return key, clean_message(item, queue, type(self).known_tasks())
        except NotOurs as refusal:
            bury(_own_connection(), item, queue, str(refusal))
            return None

    def _handle_message(self, client: Any, reply: Any) -> Any:
        """One message of a subscription; without data kombu goes on to the next."""
        message = super()._handle_message(client, reply)  # type: ignore[misc]
        if message["type"] in {b"message", b"pmessage"}:
            channel = bytes_to_str(message["channel"])
            try:
                message["data"] = clean_broadcast(message["data"], channel)
            except NotOurs as refusal:
                bury(_own_connection(), message["data"], channel, str(refusal))
                message["data"] = None
        return message


class GuardedTransport(Transport):
    Channel = GuardedChannel
