"""How old what a copy of the database shows may be, by positions in the log that original and copy share (WAL).

The time of the last transaction that a copy has replayed says little: it stands still while nobody writes, and a copy
that was cut off knows nothing of what it misses. So the original is asked where it is, again and again: a copy that has
come as far as the original was at some instant shows all that was committed until then. No two clocks are compared,
and an ordinary role may ask (PostgreSQL, "Recovery Information Functions" and "Backup Control Functions").
"""

import math
from bisect import bisect_right
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

_WHERE: Final = text(
    "SELECT system_identifier, current_database(), pg_is_in_recovery(), "
    "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() - '0/0' "
    "ELSE pg_current_wal_flush_lsn() - '0/0' END FROM pg_control_system()"
)


class Place(NamedTuple):
    """Where a server is."""

    database: tuple[int, str]
    """Which database of which cluster: the same for an original and its copies, and for no other."""
    is_copy: bool
    """It follows another server, and takes no writes."""
    position: int
    """The byte of the log until which everything can be read."""


def place_of(connection: Connection) -> Place:
    """Return where the server at the other end is now."""
    cluster, name, is_copy, position = connection.execute(_WHERE).one()
    return Place((cluster, name), is_copy, int(position or 0))


class _Mark(NamedTuple):
    position: int
    at: float


class Trail:
    """Where the original was, and when. One thread writes it, any may ask."""

    def __init__(self, seconds: float) -> None:
        """Remember for `seconds`."""
        self._seconds = seconds
        self._marks: tuple[_Mark, ...] = ()

    def add(self, position: int, at: float) -> None:
        """Note that at the instant `at`, of the monotonic clock, the original was no further than `position`."""
        kept = [mark for mark in self._marks if mark.at > at - self._seconds]
        if kept and kept[-1].position > position:
            kept.clear()  # it was taken back to an earlier state: what was known of it does not hold
        if kept and kept[-1].position == position:
            kept.pop()
        self._marks = (*kept, _Mark(position, at))

    def age(self, position: int, now: float) -> float:
        """Return for how many seconds a copy at `position` may have missed something; infinite: for too long."""
        marks = self._marks
        passed = bisect_right(marks, position, key=lambda mark: mark.position)
        return now - marks[passed - 1].at if passed else math.inf
