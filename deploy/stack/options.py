"""What a person may choose about the local stack."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.stack.errors import StackError
from jobs.environment import secret_from_file
from jobs.errors import ConfigurationError

BROKERS = ("valkey", "rabbitmq")
DATABASE_VARIABLES = ("PENSTOCK_DATABASE_URL", "DATABASE_URL")
BROKER_VARIABLES = ("PENSTOCK_BROKER_URL", "BROKER_URL")


@dataclass(frozen=True)
class Options:
    """The choices; a URL that is given is used, and no server is started in its place."""

    database_url: str | None = None
    broker_url: str | None = None
    broker: str = "valkey"
    workers: int = 2

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Options":
        """Read DATABASE_URL, BROKER_URL, BROKER and WORKERS; an empty value counts as absent. Raises `StackError`.

        A URL may be in a file that DATABASE_URL_FILE or BROKER_URL_FILE names.
        """
        broker = environment.get("BROKER") or "valkey"
        if broker not in BROKERS:
            raise StackError(f"BROKER={broker}: must be one of {', '.join(BROKERS)}")
        workers = environment.get("WORKERS") or "2"
        if not workers.isascii() or not workers.isdigit() or not 1 <= int(workers) <= 64:  # noqa: PLR2004 - one machine
            raise StackError(f"WORKERS={workers}: must be a number from 1 to 64")
        return cls(
            database_url=_secret(environment, DATABASE_VARIABLES),
            broker_url=_secret(environment, BROKER_VARIABLES),
            broker=broker,
            workers=int(workers),
        )


def _secret(environment: Mapping[str, str], names: Sequence[str]) -> str | None:
    folded = {name.lower(): value for name, value in environment.items()}
    try:
        found = [secret_from_file(name, folded) or environment.get(name) for name in names]
    except ConfigurationError as error:
        raise StackError(str(error)) from None
    return next(filter(None, found), None)
