"""The read replica: who watches it, and says whether lists may be read from it."""

import math
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

import structlog
from pydantic import SecretStr
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from api.line import Line
from api.reads import look
from api.schemas import Dependency
from jobs.copies import Place, Trail, place_of
from jobs.database import DatabaseSettings, open_engine
from jobs.errors import DatabaseUnavailable
from jobs.telemetry.metrics import Instruments

T = TypeVar("T")

log = structlog.get_logger()

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at the replica."""
READ_WITHIN: Final = 5.0
"""Seconds after which a read is taken from the replica, which hangs, to the primary: half of a request's patience."""
_LOOK_WITHIN: Final = {"database_statement_timeout_seconds": 1.0, "database_answer_seconds": 0.5}
_READ_WITHIN: Final = {"database_statement_timeout_seconds": READ_WITHIN - 0.5, "database_answer_seconds": 0.5}


class Trouble(StrEnum):
    """Why nobody reads from the replica; each says so at /ready."""

    UNSEEN = "not looked at yet"
    AWAY = "does not answer"
    SILENT = "does not say where it is in the log"
    NO_COPY = "takes writes itself: it is no replica"
    STRANGER = "is no copy of the primary's database"
    BEHIND = "is too far behind"


class Look(NamedTuple):
    """What a read from the replica found."""

    found: object
    age: float
    """Seconds; what was committed before is in it."""
    position: int
    """How far the replica was at the end of the read."""


class Replica:
    """Knows at any time whether the replica is fit to be read from: there, a copy of the primary, and recent enough."""

    def __init__(
        self, url: SecretStr, database: DatabaseSettings, *, lag_seconds: float, instruments: Instruments
    ) -> None:
        """Watch nothing yet. What is read from it may be `lag_seconds` old."""
        there = database.model_copy(update={"database_url": url, **_READ_WITHIN})
        short = there.model_copy(update=_LOOK_WITHIN)
        asking = database.model_copy(update=_LOOK_WITHIN)
        self.engine = open_engine(there, application_name="penstock-lists")
        self._copy = open_engine(short, application_name="penstock-replica", pool_size=1)
        self._original = open_engine(asking, application_name="penstock-replica", pool_size=1)
        self.line = Line(database.database_pool_size, patience=database.database_acquire_timeout_seconds)
        self._limit = lag_seconds
        self._lag = instruments["replica_lag_seconds"]
        self._trail = Trail(2 * lag_seconds)
        self._database: tuple[int, str] | None = None
        self._trouble: Trouble | None = Trouble.UNSEEN
        self._recent_at = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="replica", daemon=True)

    @property
    def engines(self) -> tuple[Engine, Engine, Engine]:
        """All that it connects with."""
        return self.engine, self._copy, self._original

    @property
    def is_fit(self) -> bool:
        """Whether the last look found it fit to be read from."""
        return self._trouble is None

    def start(self) -> None:
        """Watch it from now on."""
        self._thread.start()

    def close(self) -> None:
        """Watch it no more."""
        self._ending.set()
        self._thread.join(READ_WITHIN)

    def status(self) -> Dependency:
        """Return what /ready says of it."""
        lag = time.monotonic() - self._recent_at
        behind = f"{lag:.1f} s behind at the most"
        match self._trouble or (Trouble.BEHIND if lag > self._limit else None):
            case None:
                return Dependency(ok=True, detail=behind)
            case Trouble.BEHIND:
                return Dependency(ok=False, detail=f"{Trouble.BEHIND}; lists come from the primary ({behind})")
            case trouble:
                return Dependency(ok=False, detail=f"{trouble}; lists come from the primary")

    def read(self, query: Callable[[Connection], T], least: int) -> Look | None:
        """Return what `query` finds there; None: the server that was met is not fit, or has not come to `least` yet.

        Behind one name there may be several replicas, so each read asks the one that it met. Raises
        `DatabaseUnavailable`, and `DBAPIError`.
        """

        def run(connection: Connection) -> Look | None:
            place, now = place_of(connection), time.monotonic()
            if place.position < least or self._trouble_of(place, now):
                return None
            found = query(connection)
            return Look(found, self._trail.age(place.position, now), place_of(connection).position)

        return look(self.engine, run)

    def _watch(self) -> None:
        while not self._ending.is_set():
            self._look()
            self._ending.wait(LOOK_EVERY)

    def _look(self) -> None:
        self._mark()
        try:
            place = look(self._copy, place_of)
            now = time.monotonic()
            trouble = self._trouble_of(place, now)
        except (DatabaseUnavailable, DBAPIError) as error:
            trouble = Trouble.AWAY if isinstance(error, DatabaseUnavailable) else Trouble.SILENT
            now = time.monotonic()
        else:
            age = self._trail.age(place.position, now)
            if place.is_copy and math.isfinite(age):
                self._recent_at = now - age
        self._lag.set(now - self._recent_at)
        if trouble is not self._trouble and not self._ending.is_set():
            self._tell(trouble)
        self._trouble = trouble

    def _mark(self) -> None:
        """Note where the primary is. While it is away nothing is noted, and what the replica shows grows old."""
        asked_at = time.monotonic()
        try:
            place = look(self._original, place_of)
        except (DatabaseUnavailable, DBAPIError):
            return
        if not place.is_copy:
            self._database = place.database
            self._trail.add(place.position, asked_at)

    def _trouble_of(self, place: Place, now: float) -> Trouble | None:
        if not place.is_copy:
            return Trouble.NO_COPY
        if self._database is not None and place.database != self._database:
            return Trouble.STRANGER
        return Trouble.BEHIND if self._trail.age(place.position, now) > self._limit else None

    def _tell(self, trouble: Trouble | None) -> None:
        if trouble is None:
            log.info("replica_used")
        else:
            log.warning("replica_left_out", reason=trouble.name.lower())
