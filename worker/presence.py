"""The worker among those that are known to be alive."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from jobs import registry
from jobs.database import transaction
from jobs.errors import DatabaseUnavailable
from jobs.release import release_version


@dataclass(frozen=True)
class Presence:
    """What a worker says of itself when it comes, and that it goes."""

    engine: Engine
    name: str
    queues: Sequence[str]
    tasks: Sequence[str]
    slots: int

    def announce(self) -> None:
        """Enter the worker among the living. Raises `DatabaseUnavailable`."""
        with transaction(self.engine) as connection:
            registry.announce(
                connection,
                name=self.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                queues=self.queues,
                tasks=self.tasks,
                slots=self.slots,
                release=release_version(),
            )

    def leave(self) -> None:
        """Record that the worker has stopped by itself, where PostgreSQL answers."""
        try:
            with transaction(self.engine) as connection:
                registry.leave(connection, self.name)
        except DatabaseUnavailable:
            return  # its silence says the same a little later
