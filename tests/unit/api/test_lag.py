"""A loop that is busy is late, and is known to be."""

import asyncio
import threading
from collections.abc import Callable

from api.lag import TICK, Lag

BLOCKED = 0.3


def _block() -> None:
    """Keep the loop from everything else for a while, as a long computation would."""
    threading.Event().wait(BLOCKED)


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(TICK)
    raise AssertionError("it never was so")


def test_a_loop_that_was_blocked_is_late_while_it_is_and_not_for_long_after() -> None:
    lag = Lag()

    async def run() -> float:
        with lag:
            await asyncio.sleep(TICK)
            _block()
            late = lag.seconds()
            await _until(lambda: lag.seconds() < BLOCKED / 2)
        return late

    assert asyncio.run(run()) >= BLOCKED - 3 * TICK


def test_nobody_is_late_where_nothing_is_done() -> None:
    lag = Lag()

    async def run() -> float:
        with lag:
            await asyncio.sleep(TICK)
        await _until(lambda: lag._due is None)
        _block()
        return lag.seconds()

    assert asyncio.run(run()) == 0.0
