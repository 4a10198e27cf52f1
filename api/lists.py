"""Lists, read from the replica where there is one that is fit, and from the primary otherwise.

A page never shows less than the page before it: its cursor says how far the log was then, and a replica that has not
come that far is not asked.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from api.line import Line
from api.patience import PATIENCE, in_time
from api.reads import look
from api.replica import READ_WITHIN, Replica
from jobs.copies import place_of
from jobs.database import QUERY_CANCELED
from jobs.errors import DatabaseUnavailable, InvalidCursor
from jobs.search import Page

READ_FROM: Final = "Penstock-Read-From"
_BEHIND_A_CURSOR: Final = re.compile(r"[0-9a-f]{1,16}")

Query = Callable[..., Page]
"""Takes a connection, and the cursor by its name."""


class Listed(NamedTuple):
    """A page, and what the answer says of where it comes from."""

    page: Page
    headers: Mapping[str, str]


class Lists:
    """Reads lists."""

    def __init__(self, desk: Line, engine: Engine, replica: Replica | None, reads: Any) -> None:
        """Read from `replica`, or with a place at the `desk` by `engine`; count in `reads`."""
        self._desk = desk
        self._engine = engine
        self._replica = replica
        self._reads = reads

    async def page(self, query: Query, cursor: str | None, *, wants_newest: bool = False) -> Listed:
        """Return a page. One who `wants_newest` gets it from the primary. Raises what a read from the primary does."""
        bare, least = _taken_apart(cursor)
        query = partial(query, cursor=bare)
        if self._replica is None:
            return Listed(await in_time(self._desk, partial(look, self._engine, query)), {})
        began = asyncio.get_running_loop().time()
        if least is not None and not wants_newest and self._replica.is_fit:
            found = await self._from(self._replica, query, least)
            if found is not None:
                self._reads.labels("replica").inc()
                return found
        self._reads.labels("primary").inc()
        left = PATIENCE - (asyncio.get_running_loop().time() - began)
        page = await in_time(self._desk, partial(look, self._engine, partial(_with_place, query)), seconds=left)
        return Listed(page, {READ_FROM: "primary"})

    async def _from(self, replica: Replica, query: Query, least: int) -> Listed | None:
        try:
            found = await in_time(replica.line, partial(replica.read, query, least), seconds=READ_WITHIN)
        except DatabaseUnavailable:
            return None
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") == QUERY_CANCELED:
                raise  # it would take the primary as long
            return None
        if found is None:
            return None
        assert isinstance(found.found, Page)  # noqa: S101 - what the query returns
        return Listed(_with_position(found.found, found.position), {READ_FROM: f"replica;age={found.age:.3f}"})


def _with_place(query: Query, connection: Connection) -> Page:
    page = query(connection)
    return _with_position(page, place_of(connection).position) if page.next_cursor else page


def _with_position(page: Page, position: int) -> Page:
    return replace(page, next_cursor=f"{page.next_cursor}~{position:x}") if page.next_cursor else page


def _taken_apart(cursor: str | None) -> tuple[str | None, int | None]:
    """Return the cursor of the list, and how far a replica must have come; None: nobody knows.

    Raises `InvalidCursor`.
    """
    if cursor is None:
        return None, 0
    bare, mark, position = cursor.partition("~")
    if not mark:
        return cursor, None
    if not _BEHIND_A_CURSOR.fullmatch(position):
        raise InvalidCursor
    return bare, int(position, 16)
