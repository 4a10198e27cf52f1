"""A consumer that no message can take down.

Stock Celery 5.7 ends, or loops for ever, on messages that it cannot take apart: each worker that receives
one dies of it in turn. Here whatever cannot be read is buried in the queue's dead letter queue.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import structlog
from amqp.exceptions import ChannelError, IrrecoverableConnectionError, NotFound, ResourceLocked
from celery.utils.threads import bound_open_broker_sockets  # type: ignore[attr-defined]  # the stubs are older
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError
from redis.exceptions import ResponseError

from jobs.errors import UnknownTask
from jobs.model import JobId
from tasks import messages
from tasks.messages import ForNewerRelease, UnreadableMessage
from tasks.settings import DEAD_SUFFIX
from tasks.topology import DEAD_LENGTH, is_redis
from worker.doorbells import answer
from worker.outage import Outage, finish_writing

log = structlog.get_logger()

LEAVE_SECONDS: Final = 1.0
"""How long a doorbell that is for others is held before it goes back to its queue."""
HANG_UP_SECONDS: Final = 1.0
"""How long the end of a broken connection may take."""

REFUSED_SECONDS: Final = 1.0
"""How long a broker that refuses is left alone."""
REFUSALS: Final = (ResponseError, ResourceLocked, IrrecoverableConnectionError)
"""What a broker says at once that is there and does not serve: Redis for want of memory, RabbitMQ for a limit on
connections or while it still holds this worker's last one."""


DELAYED_DELIVERY: Final = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
"""A delayed job waits in PostgreSQL."""


def _run(loop: Callable[..., None], *args: Any) -> None:
    """Run Celery's event loop. Raises `ConnectionResetError` when RabbitMQ closes the channel: the next one is well.

    It does so to a worker that holds a doorbell for longer than its `consumer_timeout`, half an hour: one of low
    priority, say, behind others that keep coming. By now the queues are declared; what is refused there is for good.
    """
    try:
        loop(*args)
    except ChannelError as error:
        raise ConnectionResetError(f"The broker closed the channel: {error}") from error


class DoorbellConsumer(Consumer):  # type: ignore[misc]  # typed as Any: its stubs miss what we need
    """Celery's consumer, for messages that may be anything."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]  # the same
        """Celery's steps but for the one that would make 28 queues for its own delays beside quorum queues."""

        default_steps: ClassVar = [step for step in Consumer.Blueprint.default_steps if step != DELAYED_DELIVERY]

    connection_errors: tuple[type[BaseException], ...]
    loop: Callable[..., None]
    _refusal: BaseException | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take for the loss of the connection what Celery would end the worker for, though the next may well do.

        That is the loss of a queue, which is declared on connecting; whatever Redis refuses: it has no memory left,
        cannot write its file, or has become a replica; what kombu raises for a broker that was lost again between
        two of Celery's steps, and is not back by the time that connecting may take; and that the queue of this worker
        for remote control, which is exclusive, still belongs to a connection which RabbitMQ has not yet given up.
        """
        super().__init__(*args, **kwargs)
        self.connection_errors = (*self.connection_errors, NotFound, ResourceLocked, ResponseError, OperationalError)
        self.loop = partial(_run, self.loop)

    def ensure_connected(self, conn: Any) -> Any:
        """Return `conn`, connected, however long that takes."""
        with Outage(self) as outage:
            outage.reach(partial(conn.ensure_connection, interval_start=0, interval_step=0, interval_max=0))
        self.first_connection_attempt = False
        return conn

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Let a broken connection go. What goes wrong at that is no reason to end.

        kombu's Redis transport puts messages back as it closes, over a connection that no longer knows its host.
        """
        self._refusal = exc if isinstance(exc, REFUSALS) else None
        try:
            self._hang_up_on_monitors()
            super().on_connection_error_after_connected(exc)
        except Exception as error:  # noqa: BLE001 - it is gone either way
            self.connection = None
            log.warning("connection_not_closed", reason=type(error).__name__)

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """Note why there is no connection yet; Celery then tries again."""
        self._refusal = exc if isinstance(exc, REFUSALS) else None

    def _hang_up_on_monitors(self) -> None:
        """Give up the connection for events without a goodbye: through a dead network, Celery waits for its answer."""
        connection = self.event_dispatcher.connection if self.event_dispatcher else None
        if connection is not None:
            bound_open_broker_sockets(connection, HANG_UP_SECONDS)
            connection.collect(socket_timeout=HANG_UP_SECONDS)

    def on_close(self) -> None:
        """Leave a connection that is gone. The pool keeps its jobs: their leases hold them, not the connection.

        A broker that is there and refuses would be asked in a tight loop: the pool is served a while first.
        """
        finish_writing(self.pool)
        if self._refusal is not None:
            with Outage(self) as outage:
                outage.rest(self._refusal, REFUSED_SECONDS)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Return Celery's handler, made safe."""
        inner = super().create_task_handler(*args, **kwargs)

        def receive(message: Any) -> None:
            try:
                inner(message)
            except ForNewerRelease as error:
                self.leave(message, error)
            except self.connection_errors as error:
                # kombu's Redis transport lists KeyError as a connection error; one raised here is the message's.
                if not isinstance(error, KeyError):
                    raise
                self.bury(message, error)
            except Exception as error:  # noqa: BLE001 - what a stranger's message can make the parsers raise is open
                self.bury(message, error)

        return receive

    def leave(self, message: Any, error: BaseException, jobs: Sequence[JobId] = ()) -> None:
        """Leave a doorbell to workers of another release, which may stand beside this one.

        It goes back to its queue after a moment, once. What then comes to a worker that cannot act on it again is
        let go: the row knows of the job, and upkeep rings anew. So no doorbell goes round and round.
        """
        queue = str((message.delivery_info or {}).get("routing_key"))
        about = {"job_id": str(jobs[0]), "count": len(jobs)} if jobs else {}
        log.info("doorbell_left", queue=queue, reason=str(error), **about)
        self.controller.instruments["doorbells_left"].inc()
        if (message.delivery_info or {}).get("redelivered"):
            message.ack_log_error(log, self.connection_errors)
            return
        back = partial(answer, self, self.connection, message.requeue)
        self.timer.call_after(LEAVE_SECONDS, back)

    def bury(self, message: Any, error: BaseException | None) -> None:
        """Put a message that nobody can read where a person can look at it, and go on."""
        queue = (message.delivery_info or {}).get("routing_key")
        known = str(queue) if queue in self.app.amqp.queues else "unknown"
        log.error("message_unreadable", queue=known, reason=type(error).__name__ if error else None)
        self.controller.instruments["messages_unreadable"].labels(known).inc()
        if is_redis(str(self.app.conf.broker_url)) and known != "unknown":
            try:
                self._bury_in_redis(message, known + DEAD_SUFFIX)
            except Exception as trouble:  # noqa: BLE001 - a full or broken server; no doorbell is lost with it
                log.warning("message_not_kept", queue=known, reason=type(trouble).__name__)
        message.reject_log_error(log, self.connection_errors)

    def _bury_in_redis(self, message: Any, dead: str) -> None:
        """Do what RabbitMQ's dead letter exchange does by itself: Redis deletes what is rejected."""
        with self.app.producer_pool.acquire(block=True, timeout=5) as producer:
            producer.publish(
                message.body,
                exchange="",  # to the list itself
                routing_key=dead,
                headers=message.headers if isinstance(message.headers, dict) else None,
                content_type=str(message.content_type),
                content_encoding="binary",
                serializer=None,
                retry=False,
            )
            channel: Any = producer.channel
            with channel.conn_or_acquire() as client:
                client.ltrim(dead, 0, DEAD_LENGTH - 1)

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Bury it; Celery would acknowledge it away."""
        self.bury(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Bury what has no form that we know."""
        self.bury(message, None)

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:  # noqa: ARG002 - the same
        """Leave a doorbell for a task that is not installed here: it may be elsewhere. Bury what is no doorbell."""
        try:
            ring = messages.read(message.headers)
        except ForNewerRelease as error:
            self.leave(message, error)
        except UnreadableMessage:
            self.bury(message, exc)
        else:
            self.leave(message, UnknownTask(f"Task {ring.task} is not installed here."), ring.jobs)

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:  # noqa: ARG002 - the same
        """Bury a message that a handler refused."""
        self.bury(message, exc)
