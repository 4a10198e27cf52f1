"""What a process that talks to the broker needs before it can begin."""

import ssl
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from amqp.exceptions import AccessRefused, NotAllowed, PreconditionFailed
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from jobs.database import DatabaseSettings
from jobs.errors import ConfigurationError, PenstockError, Unavailable
from jobs.misconfiguration import variable_of
from jobs.startup import ASK, Look, StartSettings, look_at_database, wait_for
from tasks.settings import TaskSettings
from tasks.topology import connect, declare_on, is_redis

CONNECT_SECONDS: Final = 2.0

_LOGIN: Final = (AccessRefused, AuthenticationError, AuthorizationError)
_PLACE: Final = (NotAllowed, ResponseError)
"""A virtual host, or a database, that is not there."""


def wait_for_servers(
    database: DatabaseSettings, tasks: TaskSettings, *, without_broker: bool = False, also: Sequence[Look] = ()
) -> None:
    """Return when PostgreSQL, its schema and the broker with its queues are there.

    `without_broker`: the broker may be away, but must not refuse us. `also` is looked at too.

    Raises `ConfigurationError` for what no waiting cures, and `Unavailable` when the time is over.
    """
    looks = [
        look_at_database(database),
        look_at_broker(tasks, queues=tasks.queues)._replace(is_optional=without_broker),
        *also,
    ]
    wait_for(looks, StartSettings().start_wait_seconds)


def wait_for_broker(tasks: TaskSettings) -> None:
    """Return when the broker is there. Raises `ConfigurationError` and `Unavailable` as above."""
    wait_for([look_at_broker(tasks)], StartSettings().start_wait_seconds)


def look_at_broker(tasks: TaskSettings, *, queues: Sequence[str] = ()) -> Look:
    """Return a look at the broker, which makes sure that it has these queues, in RabbitMQ of the kind that was chosen.

    Where the URL names several hosts, one of them is enough.

    Raises `ConfigurationError` where nobody has said where it is.
    """
    urls = tasks.broker().split(";")
    variable = variable_of(TaskSettings, "broker_url")
    places = [f"{variable}: {_place(url)}" for url in urls]

    def see() -> None:
        errors = []
        for url, where in zip(urls, places, strict=True):
            try:
                return _open(url, where, tasks, queues)
            except PenstockError as error:
                errors.append(error)
        # That one refuses us decides nothing while another may still come.
        raise next((error for error in errors if isinstance(error, Unavailable)), errors[0])

    return Look(" or ".join(places), see)


def _place(url: str) -> str:
    parts = urlsplit(url)
    kind = "Redis or Valkey" if is_redis(url) else "RabbitMQ"
    return f"{kind} at {parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _open(url: str, where: str, tasks: TaskSettings, queues: Sequence[str]) -> None:
    """Return when the broker at that one address has answered. Raises `ConfigurationError` and `Unavailable`."""
    limits = {"socket_timeout": CONNECT_SECONDS, "socket_connect_timeout": CONNECT_SECONDS} if is_redis(url) else {}
    broker = connect(url, tasks.broker_ca_file, transport_options=limits, connect_timeout=CONNECT_SECONDS)
    try:
        # Not through the connection itself: it would try a second time, two seconds later.
        opened = broker.transport.establish_connection()
        channel = broker.transport.create_channel(opened)  # Redis is asked then, and not before
        _declare(channel, where, tasks, queues)
        broker.transport.close_connection(opened)
    except PenstockError:
        raise
    except Exception as error:  # noqa: BLE001 - each transport fails in its own ways
        raise _of_another_kind(error, tasks) or _told(error, where) from None
    finally:
        broker.collect(socket_timeout=0.5)


def _declare(channel: Any, where: str, tasks: TaskSettings, queues: Sequence[str]) -> None:
    """Make sure of the queues; no broker takes that from whoever could ring no doorbell there."""
    try:
        declare_on(channel, queues, tasks.rabbitmq_queues)
    except (AccessRefused, NoPermissionError):
        raise ConfigurationError(
            f"{where} does not let this user make queues; give it every permission there, or take another."
        ) from None
    except ReadOnlyError:
        raise Unavailable(f"{where} is read-only, as a replica is; name the primary, or promote this one.") from None
    except OutOfMemoryError:
        raise Unavailable(f"{where} has no memory left; raise its maxmemory, or delete what is not ours.") from None


def _of_another_kind(error: Exception, tasks: TaskSettings) -> ConfigurationError | None:
    """Return what to tell where RabbitMQ has a queue that is not as it is to be; it never changes one."""
    if not isinstance(error, PreconditionFailed):
        return None
    variable = variable_of(TaskSettings, "rabbitmq_queues")
    return ConfigurationError(
        f"{variable} is {tasks.rabbitmq_queues}, and RabbitMQ has queues that were made otherwise; set it to what they "
        "are, or stop every process and delete them: what they hold is rung for again."
    )


def _told(error: Exception, where: str) -> ConfigurationError | Unavailable:
    """Return what to tell of `error`, which may hold more than people should read."""
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    for one in found:
        if isinstance(one, _LOGIN):
            return ConfigurationError(f"{where} refuses the login; correct the user and the password in it.")
        if isinstance(one, _PLACE):
            return ConfigurationError(
                f"{where} has no such virtual host or database; make it, or correct the path in it."
            )
        if isinstance(one, ssl.SSLCertVerificationError):
            cure = "correct PENSTOCK_BROKER_CA_FILE, or the host"
            return ConfigurationError(f"{where} shows a certificate that does not hold ({one.verify_message}); {cure}.")
        if isinstance(one, ssl.SSLError):
            return ConfigurationError(
                f"{where} does not speak TLS ({one.reason}); correct the scheme or the port in it."
            )
    reasons = [one.strerror for one in found if isinstance(one, OSError) and one.strerror]
    reason = reasons[-1] if reasons else type(error).__name__
    return Unavailable(f"{where} does not answer ({reason}); {ASK}")
