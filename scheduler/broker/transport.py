"""The guard in front of every consumer: a message that this cluster did not send becomes a dead letter.

kombu crashes on several kinds of malformed messages, and returns them to the head of the queue at each shutdown: one
such message would stop every worker that reads it. So kombu sees only messages that passed the guard.
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
from scheduler.broker.message_format import MessageRefused, clean_broadcast, clean_message
from scheduler.redis_client import KEY_PREFIX, connect

#: The end of the names of queues for the workers' answers to Flower and `celery inspect`. No worker reads them.
_ANSWERS: Final = ".reply.celery.pidbox"


def set_aside(client: Redis, queues: Iterable[str]) -> None:
    """Renames keys that have the name of a queue and are not lists: they would stop all readers and senders."""
    for queue in queues:
        key = f"{KEY_PREFIX}{queue}"
        kind: Any = client.type(key)
        if kind not in {b"list", b"none"}:
            client.rename(key, f"{KEY_PREFIX}set-aside:{queue}")
            bury(
                client,
                b"",
                queue,
                f"the queue's key held a {kind.decode()}; it was renamed {KEY_PREFIX}set-aside:{queue}",
            )


@cache
def _own_connection() -> Redis:
    """A second connection: that of the consumer waits in BRPOP."""
    return connect()


class FrontQoS(QoS):
    """As kombu's, but a hint that is returned is consumed next: kombu would put it behind the whole window."""

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if requeue:
            self.restore_by_tag(delivery_tag)
        self.ack(delivery_tag)

    def restore_by_tag(self: Any, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Returns an unacknowledged message to its queue, where it passes the guard again. A note of it that cannot be
        read becomes a dead letter: it would prevent the return of all others."""
        try:
            QoS.restore_by_tag(self, tag, client, leftmost)
        except (ValueError, TypeError, RecursionError) as error:
            with self.channel.conn_or_acquire(client) as redis:
                bury(_own_connection(), redis.hget(self.unacked_key, tag) or b"", self.unacked_key, f"unread: {error}")
            self._remove_from_indices(tag).execute()


class GuardedChannel(Channel):
    """As kombu's, but every message from Redis passes the guard first."""

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
        """None, the answer of an empty queue, if the message is refused: the consumer then continues."""
        queue = key.decode() if isinstance(key, bytes) else key
        if queue.endswith(_ANSWERS):
            return key, item
        try:
            return key, clean_message(item, queue, type(self).known_tasks())
        except MessageRefused as refusal:
            bury(_own_connection(), item, queue, str(refusal))
            return None

    def _handle_message(self, client: Any, reply: Any) -> Any:
        """One message of a subscription; if its data is None, kombu continues with the next one."""
        message = super()._handle_message(client, reply)  # type: ignore[misc]
        if message["type"] in {b"message", b"pmessage"}:
            channel = bytes_to_str(message["channel"])
            try:
                message["data"] = clean_broadcast(message["data"], channel)
            except MessageRefused as refusal:
                bury(_own_connection(), message["data"], channel, str(refusal))
                message["data"] = None
        return message


class GuardedTransport(Transport):
    Channel = GuardedChannel
