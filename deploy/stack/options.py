"""What a person may choose about the local stack."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.stack.errors import StackError

BROKERS = ("valkey", "rabbitmq")


@dataclass(frozen=True)
class Options:
    """The choices; a URL that is given is used, and no server is started in its place."""

    database_url: str | None = None
    broker_url: str | None = None
    broker: str = "valkey"
    workers: int = 2

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Options":
        """Read DATABASE_URL, BROKER_URL, BROKER and WORKERS; an empty value counts as absent. Raises `StackError`."""

        def value(*names: str) -> str | None:
            return next((environment[name] for name in names if environment.get(name)), None)

        broker = value("BROKER") or "valkey"
        if broker not in BROKERS:
            raise StackError(f"BROKER={broker}: must be one of {', '.join(BROKERS)}")
        workers = value("WORKERS") or "2"
        if not workers.isascii() or not workers.isdigit() or not 1 <= int(workers) <= 64:  # noqa: PLR2004 - one machine
            raise StackError(f"WORKERS={workers}: must be a number from 1 to 64")
        return cls(
            database_url=value("PENSTOCK_DATABASE_URL", "DATABASE_URL"),
            broker_url=value("PENSTOCK_BROKER_URL", "BROKER_URL"),
            broker=broker,
            workers=int(workers),
        )
