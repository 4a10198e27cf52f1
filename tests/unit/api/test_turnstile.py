"""Requests are begun in the order in which they came, so many at each turn of the event loop."""

import asyncio

from api.turnstile import Turnstile


class _Loop:
    """Counts the turns of the event loop that runs."""

    def __init__(self) -> None:
        self.turns = 0
        self._turn()

    def _turn(self) -> None:
        self.turns += 1
        self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def stop(self) -> None:
        self._handle.cancel()


async def passing(turnstile: Turnstile, count: int) -> list[int]:
    """Return the turn at which each of `count` requests, which come together, was let through."""
    loop = _Loop()

    async def one() -> int:
        await turnstile.enter()
        return loop.turns

    try:
        return await asyncio.gather(*(one() for _ in range(count)))
    finally:
        loop.stop()


def test_a_few_are_let_through_at_once() -> None:
    turns = asyncio.run(passing(Turnstile(3), 3))

    assert len(set(turns)) == 1


def test_a_crowd_is_let_through_by_and_by_in_its_order() -> None:
    turns = asyncio.run(passing(Turnstile(3), 30))

    assert turns == sorted(turns)
    assert max(turns.count(turn) for turn in turns) == 3


def test_who_has_left_takes_no_place() -> None:
    async def crowd() -> int:
        turnstile = Turnstile(1)
        await turnstile.enter()
        impatient, patient = (asyncio.create_task(turnstile.enter()) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        loop = _Loop()
        await patient
        loop.stop()
        return loop.turns

    assert asyncio.run(crowd()) <= 4


def test_a_newcomer_is_told_how_long_the_crowd_before_it_will_take() -> None:
    now = [0.0]

    async def crowd() -> float:
        turnstile = Turnstile(2, clock=lambda: now[0])
        waiting = [asyncio.create_task(turnstile.enter()) for _ in range(40)]
        assert turnstile.wait() == 0.0
        for _ in range(8):
            await asyncio.sleep(0)
            now[0] += 0.010
        expected = turnstile.wait()
        for one in waiting:
            one.cancel()
        return expected

    assert 0.0 < asyncio.run(crowd()) < 40 / 2 * 0.010
