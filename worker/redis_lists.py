"""kombu's Redis transport for doorbells: they may be lost, so nothing about them is kept in the server.

kombu writes each message that it has taken into the server a second time, and once more when it is dealt with,
in case its worker dies. That is two round trips in the worker's event loop, which a server that hangs holds up, and
two writes, which a server that is full refuses. Upkeep rings again for what a dead worker took with it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis, virtual
from kombu.utils.json import dumps
from redis.exceptions import ResponseError

log = structlog.get_logger()


class HeldDoorbells(virtual.QoS):
    """What a channel has taken and not dealt with, in its worker's memory alone."""

    channel: "ListChannel"
    _delivered: OrderedDict[str, Any]
    _quick_ack: Callable[[str], None]
    _flush: Callable[[], None]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Let a message go, or give it back to be the next that is taken."""
        if requeue:
            self.channel.put_back([self._delivered[delivery_tag]])
        self._quick_ack(delivery_tag)

    def restore_unacked(self) -> None:
        """Give everything back in one go, as a channel does when it is closed."""
        self._flush()
        held = list(self._delivered.values())
        self._delivered.clear()
        if not held:
            return
        try:
            self.channel.put_back(reversed(held))
        except self.channel.connection_errors as error:
            log.warning("doorbells_not_put_back", count=len(held), reason=type(error).__name__)


class ListChannel(redis.Channel):
    """A channel that neither a stranger's element nor a server that refuses to write ends its worker by."""

    QoS = HeldDoorbells  # type: ignore[assignment]  # the stubs know kombu's alone
    connection_errors: tuple[type[BaseException], ...]
    _q_for_pri: Callable[[str, int], str]

    def put_back(self, messages: Iterable[Any]) -> None:
        """Put messages back to where they were taken from, the last of them to be the next."""
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for message in messages:
                place = message.delivery_info
                place["redelivered"] = True
                priority = self._get_message_priority(message._raw, reverse=False)
                for queue in self._lookup(place["exchange"], place["routing_key"]):
                    pipe.rpush(self._q_for_pri(queue, priority), dumps(message._raw))
            pipe.execute()

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]  # the stubs leave it out
        except ResponseError as error:  # a full server; doorbells find their list without a binding
            log.warning("binding_not_stored", exchange=exchange, reason=type(error).__name__)

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # the stubs leave it out
        except Exception as error:
            if self._is_of_the_connection(error):
                raise
            log.warning("element_unreadable", reason=type(error).__name__)
            return True

    def _receive_one(self, client: Any) -> Any:
        """Read what was published to all workers; what is no message is left alone.

        redis-py 8 waits for ever where nothing has come: after a pause, say, the loop may hold a number of a file for
        readable that belongs to a newer connection. All jobs of the worker would wait.
        """
        if client.connection is None or not client.connection.can_read(timeout=0):
            return None
        try:
            return super()._receive_one(client)  # type: ignore[misc]  # the stubs leave it out
        except Exception as error:
            if self._is_of_the_connection(error):
                raise
            log.warning("broadcast_unreadable", reason=type(error).__name__)
            return None

    def _is_of_the_connection(self, error: Exception) -> bool:
        """Tell whether the connection failed, or had nothing, rather than what came over it.

        kombu counts KeyError among the connection errors; where one reads, it says that what came lacks something.
        """
        ours: Any = (Empty, *self.connection.connection_errors, *self.connection.channel_errors)
        return isinstance(error, ours) and not isinstance(error, KeyError)


class ListTransport(redis.Transport):
    """The transport with that channel. What a server refuses for a while is an outage, and no reason to end."""

    Channel = ListChannel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)
