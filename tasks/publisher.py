"""Ring many doorbells at once and know that the broker has them.

On RabbitMQ the confirms are pipelined: all messages are sent, then all confirms awaited (its documentation,
"Publisher Confirms", strategy 3). py-amqp confirms one by one, which is ten times slower. On Redis kombu's
batches send one pipeline.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from amqp import spec
from amqp.basic_message import Message
from kombu import Connection, Producer
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]  # the stubs are older

from jobs.errors import BrokerUnavailable
from jobs.failpoints import passed, reached
from jobs.model import Doorbell, JobId
from tasks import messages
from tasks.settings import QueueKind
from tasks.topology import EXCHANGE, broker_priority, connect, declare, depth, is_redis

CONFIRM_TIMEOUT: Final = 10.0
"""Seconds without any word from the broker after which a batch counts as not delivered."""
BLOCKED_FOR: Final = 60.0
"""Seconds after which a connection that the broker has blocked is given up: it may be dead as well."""

_PERSISTENT: Final = 2
_PUBLISH: Final = "Bssbb"
"""The arguments of basic.publish: reserved, exchange, routing key, mandatory, immediate."""
_MANDATORY: Final = True
_NOBODY: Final = JobId(int=0)
_NOBODY_ENCODED: Final = str(_NOBODY).encode()

#: What a broken broker makes the libraries raise. Redis' transport lists KeyError as a connection error.
_OUTAGES: Final = (OSError, OperationalError, BatchPublishError)


class _Blocked(Exception):
    """The broker is alive and takes nothing: it is out of memory or disk."""


class _ConfirmedChannel:
    """A channel that counts what was sent and what the broker has answered for."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._blocked_since: float | None = None
        channel.connection.on_blocked = self._on_blocked
        channel.connection.on_unblocked = self._on_unblocked
        channel.confirm_select()
        self._sent = 0
        self._open: set[int] = set()
        self.refused: set[int] = set()
        self.returned: set[str] = set()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp calls it so
        if multiple:
            self._open = {open_ for open_ in self._open if open_ > tag}
        else:
            self._open.discard(tag)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - the same
        self.refused |= {open_ for open_ in self._open if open_ == tag or (multiple and open_ < tag)}
        self._on_ack(tag, multiple)

    def _on_return(self, _error: Exception, _exchange: str, _key: str, message: Any) -> None:
        self.returned.add(str(message.properties.get("correlation_id")))

    def send(self, message: Message, queue: str) -> int:
        """Send one message and return its number."""
        self._sent += 1
        self._open.add(self._sent)
        # What py-amqp's basic_publish does, without its look at the socket before each message: a broker that
        # blocks us shows in the confirms, whose wait is bounded.
        self._channel.send_method(spec.Basic.Publish, _PUBLISH, (0, EXCHANGE.name, queue, _MANDATORY, False), message)
        return self._sent

    @contextmanager
    def in_one_write(self) -> Iterator[None]:
        """Send what the block sends together, at its end: a write for each message costs more than the message."""
        transport = self._channel.connection.transport
        parts: list[bytes] = []
        write, transport._write = transport._write, lambda part: parts.append(bytes(part))
        try:
            yield
        finally:
            transport._write = write
        if parts:
            transport.write(b"".join(parts))

    def settle(self) -> None:
        """Wait until the broker has answered for everything that was sent. Raises `_Blocked` when it takes nothing."""
        while self._open:
            self._channel.connection.drain_events(timeout=CONFIRM_TIMEOUT)
            self.mind_alarm()

    def look(self) -> None:
        """Take in what the broker has said meanwhile. Raises `_Blocked`."""
        with suppress(TimeoutError):
            while self._blocked_since is not None:
                self._channel.connection.drain_events(timeout=0.01)
        self.mind_alarm()

    def mind_alarm(self) -> None:
        """Raise `_Blocked` while the broker takes nothing, for lack of memory or disk (RabbitMQ, "Alarms")."""
        if self._blocked_since is None:
            return
        if time.monotonic() - self._blocked_since > BLOCKED_FOR:
            raise TimeoutError
        raise _Blocked

    def _on_blocked(self, _reason: str) -> None:
        self._blocked_since = time.monotonic()

    def _on_unblocked(self) -> None:
        self._blocked_since = None


class DoorbellPublisher:
    """Rings doorbells over one connection of its own. For one thread."""

    def __init__(
        self, url: str, queues: Sequence[str], kind: QueueKind = "classic", ca_file: Path | None = None
    ) -> None:
        """Connect at the first use; on RabbitMQ the queues are of that kind."""
        self._url = url
        self._ca_file = ca_file
        self._queues = queues
        self._kind = kind
        self._connection: Connection | None = None
        self._channel: _ConfirmedChannel | None = None
        self.unconfirmed = 0
        """Doorbells that were sent when the last ring failed, and may have arrived."""
        self._send: Callable[[Sequence[Doorbell]], list[Doorbell]] = (
            self._send_to_redis if is_redis(url) else self._send_to_rabbitmq
        )

    def ring(self, doorbells: Sequence[Doorbell]) -> None:
        """Return when the broker has every doorbell. Raises `BrokerUnavailable` when that is not certain.

        A doorbell may then have arrived all the same, which does no harm.
        """
        self.unconfirmed = 0
        with self._told("took no doorbells"):
            missed = self._send(doorbells)
            if missed:  # the queue was deleted behind our back
                self._declare()
                missed = self._send(missed)
        if missed:
            self.close()
            raise BrokerUnavailable("The broker has no queue for some doorbells.")

    def depth(self, queue: str) -> int:
        """Return how many doorbells the broker has for `queue`, delivered ones left out. Raises `BrokerUnavailable`."""
        with self._told("tells no depth"):
            if self._channel is not None:
                self._channel.look()  # a broker with an alarm does not read from this connection
            return depth(self._connected(), queue)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Give up a connection on which something went wrong. Raises `BrokerUnavailable` when that is an outage."""
        try:
            yield
        except _Blocked as error:
            # Not closed: it would be there in the broker until the alarm is over, beside each new one.
            raise BrokerUnavailable(f"The broker {what}: it is out of memory or disk.") from error
        except Exception as error:
            outages = (*_OUTAGES, *self._outages())
            self.close()
            if isinstance(error, outages):
                raise BrokerUnavailable(f"The broker {what}: {type(error).__name__}.") from error
            raise

    def _outages(self) -> tuple[type[BaseException], ...]:
        connection = self._connection
        return connection.connection_errors + connection.channel_errors if connection else ()

    def close(self) -> None:
        """Give the connection up without waiting for anybody."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect(socket_timeout=0.5)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._url, self._ca_file, connect_timeout=3, heartbeat=0)
            self._declare()
        return self._connection

    def _declare(self) -> None:
        assert self._connection is not None  # noqa: S101 - both callers have just seen to it
        declare(self._connection, self._queues, self._kind)

    def _send_to_rabbitmq(self, doorbells: Sequence[Doorbell]) -> list[Doorbell]:
        connection = self._connected()
        if self._channel is None:
            self._channel = _ConfirmedChannel(connection.channel())
        channel = self._channel
        channel.look()
        channel.refused.clear()
        channel.returned.clear()
        self.unconfirmed = len(doorbells)
        with channel.in_one_write():
            numbers = {channel.send(_AmqpDoorbell(bell), bell.queue): bell for bell in doorbells}
        reached("dispatch.confirm")
        channel.settle()
        passed("dispatch.confirm")
        self.unconfirmed = 0
        missed = {numbers[number].id: numbers[number] for number in channel.refused if number in numbers}
        missed |= {bell.id: bell for bell in doorbells if str(bell.id) in channel.returned}
        return list(missed.values())

    def _send_to_redis(self, doorbells: Sequence[Doorbell]) -> list[Doorbell]:
        connection = self._connected()
        producer: Any = Producer(connection.default_channel, auto_declare=False)
        self.unconfirmed = len(doorbells)
        with producer.batch(max_size=500):
            for bell in doorbells:
                producer.publish(
                    messages.BODY,
                    exchange="",  # to the list itself: kombu's bindings lie in Redis too, and a wiped server has none
                    routing_key=bell.queue,
                    headers=messages.headers(bell),
                    priority=broker_priority(self._url, bell.priority),
                    correlation_id=str(bell.id),
                    content_type=messages.CONTENT_TYPE,
                    content_encoding=messages.CONTENT_ENCODING,
                    delivery_mode=_PERSISTENT,
                )
        self.unconfirmed = 0
        return []


@cache
def _properties(task: str, queue: str, priority: int) -> bytes:
    """Return the encoded properties of a doorbell for the job `_NOBODY`: others differ by the id alone."""
    bell = Doorbell(_NOBODY, task, queue, priority)
    message = Message(
        messages.BODY,
        content_type=messages.CONTENT_TYPE,
        content_encoding=messages.CONTENT_ENCODING,
        application_headers=messages.headers(bell),
        delivery_mode=_PERSISTENT,
        priority=bell.priority,
        correlation_id=str(bell.id),
    )
    encoded: bytes = message._serialize_properties()  # type: ignore[attr-defined]  # the stubs leave it out
    return encoded


class _AmqpDoorbell(Message):
    """A doorbell whose properties are encoded already: py-amqp would do it anew for each."""

    def __init__(self, bell: Doorbell) -> None:
        super().__init__(messages.BODY)
        text = str(bell.id).encode()
        self._encoded = _properties(bell.task, bell.queue, bell.priority).replace(_NOBODY_ENCODED, text)

    def _serialize_properties(self) -> bytes:
        return self._encoded
