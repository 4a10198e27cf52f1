"""The refused are answered when everybody who has something to say was heard once."""

import asyncio
from typing import Any, cast

from prometheus_client import CollectorRegistry

from api.connections import Connection, Doorway
from jobs.telemetry.metrics import Instruments


class Caller:
    """Somebody who is refused, and asks again as soon as that was said."""

    def __init__(self, doorway: Doorway) -> None:
        self.doorway = doorway
        self.answers: list[tuple[bytes, bool]] = []

    def ask(self, *, last: bool = False) -> None:
        """Ask, and be refused."""
        self.doorway.answer_soon(cast("Connection", self), b"no", last=last)

    def answer(self, whole: bytes, *, last: bool) -> None:
        """Hear the answer, and ask again unless it was the last."""
        self.answers.append((whole, last))
        if not last:
            self.ask()


def test_the_refused_do_not_keep_the_event_loop_from_those_that_were_let_in() -> None:
    nobody: Any = None
    doorway = Doorway(10, 10.0, nobody, nobody, Instruments(CollectorRegistry()))
    callers = [Caller(doorway) for _ in range(3)]

    async def turns(count: int) -> None:
        for caller in callers:
            caller.ask()
        assert [len(caller.answers) for caller in callers] == [0, 0, 0]
        for turn in range(1, count + 1):
            await asyncio.sleep(0)
            assert [len(caller.answers) for caller in callers] == [turn] * 3

    asyncio.run(turns(5))


def test_whoever_is_answered_for_the_last_time_is_told_so() -> None:
    nobody: Any = None
    caller = Caller(Doorway(10, 10.0, nobody, nobody, Instruments(CollectorRegistry())))

    async def once() -> None:
        caller.ask(last=True)
        await asyncio.sleep(0)

    asyncio.run(once())

    assert caller.answers == [(b"no", True)]
