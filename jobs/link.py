"""A connection to PostgreSQL on which nobody waits for ever.

PostgreSQL ends what takes too long, and the kernel notices a peer that acknowledges nothing. Neither helps where
something in between acknowledges and brings no answer: a pooler that hangs, a firewall that forgot the connection.
"""

import os
import socket
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import OperationalError, _WaitTimeout
from sqlalchemy import Engine, event

T = TypeVar("T")

_LOOK_EVERY: Final = 0.1
"""Seconds after which a wait sees to signals; psycopg's own choice."""


class Link(psycopg.Connection[Any]):
    """A connection whose every wait ends: without an answer in `answer_within` seconds it is cut and closed."""

    answer_within: float | None = None
    """Seconds for one statement or COMMIT, from its first byte to the last of its answer. None: no bound."""

    def wait(self, gen: PQGen[T], interval: float = _LOOK_EVERY, timeout: float | None = None) -> T:
        """Return what the operation `gen` returns. Raises `OperationalError` for one that was not answered in time.

        Every operation of psycopg but connecting waits here (psycopg 3, `Connection.wait`).
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_within)
        except _WaitTimeout:
            hang_up(self)
            self.close()
            raise OperationalError(f"no answer within {self.answer_within:g} s: the link is silent") from None


def bound(engine: Engine, answer_within: float) -> None:
    """Have every connection of `engine` be a link, on which each answer comes within so many seconds or none does."""

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Link:
        link = Link.connect(*arguments, **parameters)
        link.answer_within = answer_within
        return link


def hang_up(connection: psycopg.Connection[Any]) -> None:
    """Cut the connection under whoever uses it, who gets an error at once. For any thread."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
