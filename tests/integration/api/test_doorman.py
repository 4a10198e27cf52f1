"""Keys that were genuine a moment ago are not looked up again, and never by many at a time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from api.line import Line
from api.problems import Unauthorized
from api.security import REMEMBERED_FOR, Doorman
from jobs import keys
from jobs.database import transaction
from jobs.errors import DatabaseUnavailable
from jobs.keys import Principal
from tests.clock import Clock
from tests.services.databases import engine

__all__ = ["engine"]


@pytest.fixture
def key(engine: Engine) -> str:
    with transaction(engine) as connection:
        return keys.create_key(connection, name="door")


@contextmanager
def look_ups(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "api_keys" in statement:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


async def many(doorman: Doorman, key: str) -> list[Principal | BaseException]:
    return await asyncio.gather(*(doorman.admit(key) for _ in range(200)), return_exceptions=True)


def test_many_who_bring_an_unknown_key_at_once_have_it_looked_up_once(engine: Engine, key: str) -> None:
    doorman = Doorman(engine, Line(2, patience=5))

    with look_ups(engine) as seen:
        found = asyncio.run(many(doorman, key))

    assert len(seen) == 1
    assert all(isinstance(one, Principal) for one in found)


def test_a_key_in_use_is_looked_up_ahead_of_time_and_nobody_waits_for_it(engine: Engine, key: str) -> None:
    clock, line = Clock(), Line(1, patience=30)
    doorman = Doorman(engine, line, clock=clock)

    async def use(seen: list[str]) -> None:
        await doorman.admit(key)
        for times in (2, 3):
            clock.now += REMEMBERED_FOR * 0.9
            async with line.turn(), asyncio.timeout(10):  # whoever looks it up has to wait for us
                await doorman.admit(key)
            await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=10)
            assert len(seen) == times

    with look_ups(engine) as seen:
        asyncio.run(use(seen))


def test_a_revoked_key_works_no_longer_than_it_is_remembered(engine: Engine, key: str) -> None:
    clock = Clock()
    doorman = Doorman(engine, Line(2, patience=5), clock=clock)

    async def use() -> None:
        principal = await doorman.admit(key)
        with transaction(engine) as connection:
            keys.revoke_key(connection, principal.key_id)
        clock.now += REMEMBERED_FOR
        with pytest.raises(Unauthorized):
            await doorman.admit(key)

    asyncio.run(use())


def test_who_waits_for_a_look_up_that_fails_is_told_so(engine: Engine, key: str) -> None:
    line = Line(1, patience=0.05)
    doorman = Doorman(engine, line)

    async def use() -> list[Principal | BaseException]:
        async with line.turn():
            return await many(doorman, key)

    found = asyncio.run(use())

    assert all(isinstance(one, DatabaseUnavailable) for one in found)
