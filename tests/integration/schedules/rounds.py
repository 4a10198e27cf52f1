"""What the tests of a round of upkeep share."""

from collections.abc import Callable
from typing import Any, Final

from kombu import Connection
from sqlalchemy import Engine, text

from jobs import intake
from jobs.database import transaction
from jobs.model import JobId, NewJob
from schedules.upkeep import Upkeep
from tasks.topology import depth, transport_options
from tests.factories import submission

QUEUES: Final = ("default", "bulk")
WINDOW: Final = 1000
Make = Callable[..., Upkeep]
"""Makes upkeep that rings at the broker of this url."""


def accept(engine: Engine, *jobs: NewJob) -> list[JobId]:
    """Accept jobs, rung for as far as the database knows, and return their ids."""
    with transaction(engine) as connection:
        intake.accept(connection, [submission(*jobs)])
    return [job.id for job in jobs]


def change(engine: Engine, statement: str, **values: Any) -> None:
    """Do to the database what no function of ours does."""
    with transaction(engine) as connection:
        connection.execute(text(statement), values)


def held(url: str, queue: str = "default") -> int:
    """Return how many doorbells the broker holds."""
    with Connection(url, transport_options=transport_options(url)) as connection:
        return depth(connection, queue)
