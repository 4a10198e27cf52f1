"""What the processes that address or run tasks must know."""

from typing import Annotated, Final, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from jobs.environment import Settings

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
        schemes = ("amqp://", "amqps://", "redis://", "rediss://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError(f"must start with one of {', '.join(schemes)}")
        return value
