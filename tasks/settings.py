"""What the processes that address or run tasks must know."""

import ssl
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from jobs.environment import Settings
from jobs.errors import ConfigurationError
from jobs.urls import NO_PORT

DEAD_SUFFIX: Final = ".dead"
LONGEST_NAME: Final = 100

QueueKind = Literal["classic", "quorum"]


def split_names(value: object) -> object:
    """Return the parts of a text that is separated by commas; anything else as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class TaskSettings(Settings):
    """Where the broker is, which tasks are installed, and which queues exist."""

    broker_url: Annotated[
        SecretStr | None,
        Field(
            validation_alias=AliasChoices("PENSTOCK_BROKER_URL", "BROKER_URL", "broker_url"),
            description="RabbitMQ (amqp://, amqps://) or Redis/Valkey (redis://, rediss://)",
        ),
    ] = None
    broker_ca_file: Annotated[
        Path | None,
        Field(
            description="PEM file of the authorities to trust in place of the system's, for amqps:// and rediss://; a "
            "certificate that does not hold, or not for this host, is always refused"
        ),
    ] = None
    task_modules: Annotated[
        tuple[str, ...], NoDecode, Field(description="Python modules that define tasks, separated by commas")
    ] = ()
    queues: Annotated[
        tuple[str, ...], NoDecode, Field(min_length=1, description="Every queue that exists, separated by commas")
    ] = ("default", "critical", "bulk")
    rabbitmq_queues: Annotated[
        QueueKind,
        Field(
            description="What RabbitMQ keeps doorbells in: `classic`, on one node, ten priorities in strict order; "
            "`quorum`, on several nodes, in their order whatever the priority"
        ),
    ] = "classic"
    doorbell_window: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="Doorbells of one queue and priority that are in the broker at a time; what is beyond waits in "
            "PostgreSQL",
        ),
    ] = 10_000

    @field_validator("task_modules", "queues", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split_names(value)

    @field_validator("queues")
    @classmethod
    def _are_plain(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name.replace("-", "").replace("_", "").isalnum() or len(name) > LONGEST_NAME:
                raise ValueError(f"{name!r}: a queue's name is letters, digits, - and _, at most {LONGEST_NAME}")
        if len(set(value)) != len(value):
            raise ValueError("names a queue twice")
        return value

    @property
    def default_queue(self) -> str:
        """The queue of tasks that name none: the first."""
        return self.queues[0]

    @field_validator("broker_url")
    @classmethod
    def _is_known(cls, value: SecretStr | None) -> SecretStr | None:
        for one in value.get_secret_value().split(";") if value else ():
            _check_broker(one)
        return value

    @field_validator("broker_ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            check_certificates(value)
        return value

    def broker(self) -> str:
        """Return where the broker is. Raises `ConfigurationError` where nobody has said so."""
        if self.broker_url is None:
            raise ConfigurationError(
                "PENSTOCK_BROKER_URL is not set: amqp://user:password@host:5672// or redis://:password@host:6379/0."
            )
        return self.broker_url.get_secret_value()


SCHEMES: Final = ("amqp://", "amqps://", "redis://", "rediss://")


def _check_broker(url: str) -> None:
    """Raise `ValueError`, which quotes nothing of the URL, for one that no broker can be at."""
    if not url.startswith(SCHEMES):
        raise ValueError(f"must start with one of {', '.join(SCHEMES)}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(NO_PORT) from None
    if port == 0 or not parts.hostname:
        raise ValueError("names no host, or the port 0; it looks like amqp://user:password@host:5672//")
    database = parts.path.strip("/")
    if url.startswith("redis") and database and not database.isdecimal():
        raise ValueError("must end with the number of a database, as redis://:password@host:6379/0")


def check_certificates(file: Path) -> None:
    """Raise `ValueError` for a file that holds no certificates in PEM."""
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # of which SSLError is one
        why = error.strerror or type(error).__name__
        raise ValueError(f"{file} cannot be read as certificates in PEM: {why}") from None
