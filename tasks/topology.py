"""Exchanges, queues and priorities as data, for RabbitMQ and for Redis or Valkey.

One direct exchange; a queue for each name; and for each queue one that keeps what nobody could read, named
``<queue>.dead``. RabbitMQ's classic queues order 10 priorities strictly (its documentation, "Classic Queues
Support Priorities"); kombu gives Redis one list for each priority, where 0 is served first, so the two
directions meet here and nowhere else. Quorum queues are replicated and know no such order: there priority is what
PostgreSQL's order, the window of doorbells and the worker's own line make of it.
"""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from amqp.exceptions import ChannelError
from kombu import Connection, Exchange, Queue

from jobs.model import PRIORITIES
from tasks.settings import DEAD_SUFFIX, QueueKind

EXCHANGE: Final = Exchange("penstock", type="direct", durable=True)
DEAD_EXCHANGE: Final = Exchange("penstock.dead", type="direct", durable=True)

DEAD_LENGTH: Final = 10_000
"""Unreadable messages that are kept for each queue; the oldest go first."""

NO_DELIVERY_LIMIT: Final = 1_000_000_000
"""RabbitMQ 4 buries what a quorum queue has delivered 20 times; a doorbell may go back to its queue at any time, and
says nothing about the job. That there is no limit cannot be said in a way that RabbitMQ 3 knows too."""


def is_redis(url: str) -> bool:
    """Tell whether the broker is Redis or Valkey."""
    return url.startswith(("redis://", "rediss://"))


def job_queue(name: str, kind: QueueKind = "classic") -> Queue:
    """Return the queue that carries the doorbells of the jobs of queue `name`."""
    own: dict[str, Any] = (
        {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}
        if kind == "quorum"
        else {"x-max-priority": PRIORITIES[-1]}
    )
    arguments = {
        **own,
        "x-dead-letter-exchange": DEAD_EXCHANGE.name,
        "x-dead-letter-routing-key": name + DEAD_SUFFIX,
    }
    return Queue(name, EXCHANGE, routing_key=name, durable=True, queue_arguments=arguments)


def dead_queue(name: str, kind: QueueKind = "classic") -> Queue:
    """Return the queue that keeps what no worker of queue `name` could read."""
    dead = name + DEAD_SUFFIX
    own = {"x-queue-type": "quorum"} if kind == "quorum" else {}
    return Queue(
        dead, DEAD_EXCHANGE, routing_key=dead, durable=True, queue_arguments={**own, "x-max-length": DEAD_LENGTH}
    )


def broker_priority(url: str, priority: int) -> int:
    """Translate a job's priority (larger is sooner) to the broker's own scale."""
    return PRIORITIES[-1] - priority if is_redis(url) else priority


def declare(connection: Connection, queues: Iterable[str], kind: QueueKind = "classic") -> None:
    """Make sure that the exchanges and queues exist; harmless when they do.

    Raises RabbitMQ's PRECONDITION_FAILED where a queue is there and is of the other kind.
    """
    with connection.channel() as channel:
        declare_on(channel, queues, kind)


def declare_on(channel: Any, queues: Iterable[str], kind: QueueKind) -> None:
    """Do so on a channel that is open."""
    for name in queues:
        dead_queue(name, kind).bind(channel).declare()
        job_queue(name, kind).bind(channel).declare()


def depth(connection: Connection, queue: str) -> int:
    """Return how many doorbells the broker holds for `queue`, delivered ones left out; 0 when it is gone."""
    channel: Any
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except ChannelError:  # kombu says so of an empty list in Redis, RabbitMQ of a deleted queue
        return 0


def transport_options(url: str) -> dict[str, Any]:
    """Return the options under which kombu is safe with this broker; each one with its reason."""
    if is_redis(url):
        return {
            "priority_steps": list(PRIORITIES),  # kombu's default folds ten priorities into four
            "queue_order_strategy": "priority",  # queues are served in the order in which they are named
            "socket_timeout": 5,  # None would let a frozen server block a publish for ever
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 5,  # a worker that hears nothing for twice as long connects anew
        }
    # Without these a publish hangs for as long as a memory or disk alarm lasts, whatever confirm_timeout says.
    return {"read_timeout": 10, "write_timeout": 10}


def tls_options(url: str, ca_file: Path | None) -> dict[str, Any] | None:
    """Return what kombu is to insist on where `url` asks for TLS; None: it does not.

    Left alone, kombu checks no certificate of Redis, and py-amqp no name in one (their `Connection` and `Transport`).
    """
    trusted = str(ca_file) if ca_file else None
    if url.startswith("amqps://"):
        first = url.partition(";")[0]
        return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": trusted, "server_hostname": urlsplit(first).hostname}
    if url.startswith("rediss://"):
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": trusted, "ssl_check_hostname": True}
    return None


def connect(url: str, ca_file: Path | None = None, **wishes: Any) -> Connection:
    """Return a connection to the broker that opens at its first use; `wishes` come before our own options."""
    options = {**transport_options(url), **wishes.pop("transport_options", {})}
    return Connection(url, transport_options=options, ssl=tls_options(url, ca_file) or False, **wishes)
