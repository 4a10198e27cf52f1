"""How long a request waits for PostgreSQL.

A server may hang on connections that are open: its own time limits do not help then, and the kernel goes
on acknowledging. No client should have to guess for how long.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from anyio import to_thread

from api.line import Line
from jobs.errors import DatabaseUnavailable, Unavailable

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds after which a client is told to come back later."""


async def in_time(
    line: Line,
    work: Callable[[], T],
    *,
    otherwise: type[Unavailable] = DatabaseUnavailable,
    seconds: float = PATIENCE,
    weight: float = 1.0,
) -> T:
    """Return what `work` returns; it has a place in `line`, and runs in a thread.

    Raises `DatabaseUnavailable` when no place was free in time, and `otherwise` when the work takes too long.
    The thread is then left to its fate: for a write, `otherwise` is `OutcomeUnknown`.
    """
    async with line.turn(weight):
        try:
            async with asyncio.timeout(seconds):
                return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=line.threads)
        except TimeoutError:
            raise otherwise from None
