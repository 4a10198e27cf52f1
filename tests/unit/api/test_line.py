"""A line knows how long a newcomer would wait, and lets nobody wait for ever."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from api.crowd import Crowd
from api.line import Line
from api.problems import Overloaded
from jobs.errors import DatabaseUnavailable


class Hall:
    """A line of two places, and a clock that we move."""

    def __init__(self, **wishes: float) -> None:
        self.now = 0.0
        self.line = Line(2, clock=lambda: self.now, **{"patience": 20.0, **wishes})

    async def work(self, seconds: float, weight: float = 1.0) -> None:
        """Have a place for so long."""
        async with self.line.turn(weight):
            self.now += seconds

    async def fill(self, stack: AsyncExitStack) -> None:
        """Take both places until the stack is left."""
        for _ in range(2):
            await stack.enter_async_context(self.line.turn())


async def _wait_in_line(hall: Hall, weight: float = 1.0) -> asyncio.Task[None]:
    task = asyncio.create_task(hall.work(0, weight))
    await asyncio.sleep(0)
    return task


def run(scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene on a loop of its own."""
    asyncio.run(asyncio.wait_for(scene, 30))


def test_where_a_place_is_free_nobody_waits() -> None:
    async def scene() -> None:
        hall = Hall()
        await hall.work(5.0)
        async with hall.line.turn():
            assert hall.line.wait() == 0

    run(scene())


def test_the_wait_grows_with_the_work_ahead_and_its_price() -> None:
    async def scene() -> None:
        hall = Hall()
        for _ in range(60):
            await hall.work(1.0, weight=10)
        async with AsyncExitStack() as places:
            await hall.fill(places)
            tasks = [await _wait_in_line(hall, weight=100) for _ in range(3)]

            assert hall.line.wait() == pytest.approx(300 * 0.1 / 2, rel=0.05)
        await asyncio.gather(*tasks)

    run(scene())


def test_places_that_nobody_gives_up_are_expected_to_stay_taken_as_long_again() -> None:
    async def scene() -> None:
        hall = Hall(longest_wait=0.25)
        async with AsyncExitStack() as places:
            await hall.fill(places)
            assert hall.line.verdict(Crowd()) is None
            hall.now += 3.0

            assert hall.line.wait() == 3.0
            assert hall.line.verdict(Crowd()) is Overloaded
        assert hall.line.verdict(Crowd()) is None

    run(scene())


def test_who_gets_no_place_in_time_is_told_so_and_no_longer_counted() -> None:
    async def scene() -> None:
        hall = Hall(patience=0.05)
        async with AsyncExitStack() as places:
            await hall.fill(places)
            with pytest.raises(DatabaseUnavailable):
                await hall.work(0, weight=50)
            assert hall.line.wait() == 0
        await hall.work(0)

    run(scene())


def test_who_leaves_the_line_is_no_longer_counted() -> None:
    async def scene() -> None:
        hall = Hall()
        async with AsyncExitStack() as places:
            await hall.fill(places)
            task = await _wait_in_line(hall, weight=1e6)
            assert hall.line.wait() > 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

            assert hall.line.wait() == 0

    run(scene())


def test_a_late_event_loop_is_reason_enough() -> None:
    hall = Hall(longest_wait=0.25)

    assert hall.line.verdict(Crowd(lag=0.3)) is Overloaded
    assert hall.line.verdict(Crowd(lag=0.2)) is None
