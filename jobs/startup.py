"""A process begins its work when what it needs is there; what waiting cannot cure is told at once, in one line."""

import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final, NamedTuple

import structlog
from pydantic import Field, ValidationError
from sqlalchemy import Connection, NullPool, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from jobs import schema
from jobs.database import DatabaseSettings, reading, session_options
from jobs.environment import Settings, refuse_unknown
from jobs.errors import ConfigurationError, DatabaseUnavailable, PenstockError, Unavailable
from jobs.misconfiguration import told, variable_of

log = structlog.get_logger()

MISCONFIGURED: Final = 2
"""The exit code of a process whose settings are wrong: started again with the same ones it ends again."""
AWAY: Final = 75
"""The exit code of a process that has waited in vain for a dependency (EX_TEMPFAIL of sysexits.h): try again."""
PAUSE_SECONDS: Final = 0.2
OPTIONAL_SECONDS: Final = 3.0
"""How much longer the start may take for the sake of what a process can do without, where that hangs."""
LONG_SECONDS: Final = 10.0
"""Whoever is to wait for longer is told what for."""

ASK: Final = "is it up, and are host and port right?"
LEAST_SECONDS: Final = 3.0
"""For which is looked in any case, however long the process has loaded its code."""
_BEGAN: Final = time.monotonic()


class Look(NamedTuple):
    """A way to see whether something that a process needs is there."""

    where: str
    """Its setting and its place, as a line about it begins."""
    see: Callable[[], None]
    """Returns when it is there. Raises `Unavailable` when it may come, `ConfigurationError` when it will not."""
    is_optional: bool = False
    """Whether the process can do without it, unless it refuses us."""


class StartSettings(Settings):
    """How a process begins."""

    start_wait_seconds: Annotated[
        float,
        Field(
            ge=1,
            le=3600,
            description="How long a starting process waits for PostgreSQL, the schema and the broker before it ends",
        ),
    ] = 5.0


@contextmanager
def starting(who: str) -> Iterator[None]:
    """End the process with one line on standard error where its settings are wrong or what it needs is away."""
    try:
        refuse_unknown()
        yield
    except ValidationError as error:
        _end(who, told(error), MISCONFIGURED)
    except Unavailable as error:
        _end(who, str(error), AWAY)
    except PenstockError as error:
        _end(who, str(error), MISCONFIGURED)


def _end(who: str, why: str, code: int) -> None:
    sys.stderr.write(f"{who} cannot start: {' '.join(why.split())}\n")
    sys.exit(code)


def wait_for(looks: Sequence[Look], seconds: float) -> None:
    """Return when each look has found what it looks for; those that are optional may find nothing.

    Raises the first `ConfigurationError` of any look, and `Unavailable` when the process is `seconds` old. A look that
    hangs does not hold this up. SIGTERM and SIGINT end the process quietly meanwhile.
    """
    deadline = max(_BEGAN + seconds, time.monotonic() + LEAST_SECONDS)
    heard: queue.Queue[tuple[Look, PenstockError | None]] = queue.Queue()
    last: dict[Look, Unavailable] = {}
    for look in looks:
        arguments = (look, heard, last, deadline)
        threading.Thread(target=_keep_looking, args=arguments, name="start-look", daemon=True).start()
    with _leaving_quietly():
        if seconds > LONG_SECONDS:
            log.info("start_waits", needs=[look.where for look in looks], seconds=seconds)
        missing = _missing(set(looks), heard, deadline)
    for look in missing:
        if not look.is_optional:
            raise last.get(look) or Unavailable(f"{look.where} does not answer; {ASK}")


def _missing(missing: set[Look], heard: "queue.Queue[tuple[Look, PenstockError | None]]", deadline: float) -> set[Look]:
    """Return what was not there in time. Raises what a look has found to be wrong."""
    while missing:
        if all(look.is_optional for look in missing):
            deadline = min(deadline, time.monotonic() + OPTIONAL_SECONDS)
        try:
            look, error = heard.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if error is not None:
            raise error
        missing.discard(look)
    return missing


def _keep_looking(
    look: Look,
    heard: "queue.Queue[tuple[Look, PenstockError | None]]",
    last: dict[Look, Unavailable],
    deadline: float,
) -> None:
    while True:
        try:
            look.see()
        except Unavailable as error:
            if look.is_optional:
                return heard.put((look, None))
            last[look] = error
        except PenstockError as error:
            return heard.put((look, error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must hear of it and not wait
            return heard.put((look, ConfigurationError(f"{look.where} cannot be looked at: {type(error).__name__}.")))
        else:
            return heard.put((look, None))
        if time.monotonic() + PAUSE_SECONDS > deadline:
            return None
        time.sleep(PAUSE_SECONDS)  # between two looks at a server that is not there


@contextmanager
def _leaving_quietly() -> Iterator[None]:
    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def look_at_database(
    settings: DatabaseSettings, *, is_migrated: bool = True, is_written: bool = True, variable: str | None = None
) -> Look:
    """Return a look at PostgreSQL, and unless told otherwise at its schema and at whether it can be written.

    `variable` is where its URL stands.
    """
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg")
    wishes = {
        "connect_timeout": settings.database_connect_timeout_seconds,
        "application_name": "penstock-start",
        "options": session_options(url, settings),
        "client_encoding": "utf8",  # of a database without an encoding psycopg would give us bytes
    }
    engine = create_engine(url, poolclass=NullPool, connect_args=wishes)
    host = url.host or url.query.get("host") or "the local socket"
    place = f"PostgreSQL at {host}" + (f":{url.port}" if url.port else "")
    where = f"{variable or variable_of(DatabaseSettings, 'database_url')}: {place}"

    def see() -> None:
        try:
            with reading(engine) as connection:
                _see_through(connection, where, is_migrated=is_migrated, is_written=is_written)
        except (DatabaseUnavailable, DBAPIError) as error:
            raise _refusal(error, where) from None

    return Look(where, see)


def _see_through(connection: Connection, where: str, *, is_migrated: bool, is_written: bool) -> None:
    """Return when it is a database to work with. Raises `Unavailable` and `ConfigurationError`."""
    if not schema.is_utf8(connection):
        raise ConfigurationError(f"{where}: the database is not in UTF-8; make one with ENCODING 'UTF8'.")
    if is_written and schema.is_read_only(connection):
        raise Unavailable(f"{where}: it is read-only, as a standby is; name the primary, or promote this one.")
    if not is_migrated:
        return
    found = schema.found_in(connection)
    if wrong := schema.wrong(found):
        raise (Unavailable if schema.is_behind(found) else ConfigurationError)(f"{where}: {wrong}.")
    if not schema.may_work(connection):
        raise ConfigurationError(f"{where}: this user may not write jobs; GRANT it to them, or take the tables' owner.")


def _refusal(error: DatabaseUnavailable | DBAPIError, where: str) -> PenstockError:
    cause = error.__cause__ if isinstance(error, DatabaseUnavailable) else error
    reason = _reason(cause.orig if isinstance(cause, DBAPIError) else cause)
    for sign, cure in _NO_WAITING_CURES.items():
        if re.search(sign, reason, re.IGNORECASE):
            return ConfigurationError(f"{where}: {reason}; {cure}.")
    if isinstance(error, DBAPIError):
        return ConfigurationError(f"{where}: {reason}; correct it.")
    return Unavailable(f"{where}: {reason}; {ASK}")


#: By what PostgreSQL and libpq say. Other words, and other languages, are waited for: the line is the same then.
_NO_WAITING_CURES: Final = {
    r"certificate|SSL": "correct sslmode and sslrootcert in it",
    r"database .* does not exist": "create that database, or correct the name",
    r"authentication failed|no password supplied|role .* (does not exist|is not permitted)": (
        "correct the user and the password in it"
    ),
    r"pg_hba\.conf|permission denied|not allowed|is not currently accepting": "let this user in, or take another",
    r"^invalid ": "correct it",
}


def _reason(error: BaseException | None) -> str:
    """Return the last thing that libpq or PostgreSQL said, without where and without its hints."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return f"it does not answer ({type(error).__name__})"
    said = next((line for line in reversed(lines) if "failed: " in line), lines[0])
    return re.sub(r"^.*failed: |\b(FATAL|ERROR):\s+", "", said).rstrip(".")
