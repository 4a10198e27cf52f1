"""Whether a database is one that this release works with, and its schema is. Nothing of Alembic is loaded for it."""

from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

_VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"


@cache
def revisions() -> tuple[str, ...]:
    """Return the revisions that this release knows, oldest first; `v0007_x.py` makes 0007."""
    return tuple(file.name[1:5] for file in sorted(_VERSIONS.glob("v[0-9][0-9][0-9][0-9]_*.py")))


def found_in(connection: Connection) -> str | None:
    """Return the revision that the database is at; None: it has no schema."""
    if not connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL")):
        return None
    revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return str(revision) if revision else None


def is_utf8(connection: Connection) -> bool:
    """Tell whether the database can hold every text: another encoding refuses jobs for a letter that it has not."""
    query = "SELECT encoding = pg_char_to_encoding('UTF8') FROM pg_database WHERE datname = current_database()"
    return bool(connection.scalar(text(query)))


def is_read_only(connection: Connection) -> bool:
    """Tell whether nothing can be written over this connection, as on a standby."""
    return bool(connection.scalar(text("SHOW transaction_read_only")) == "on")


def may_work(connection: Connection) -> bool:
    """Tell whether this user may do what every process does: read and change jobs, and tell of it."""
    wanted = (("jobs", "SELECT"), ("jobs", "UPDATE"), ("events", "INSERT"))
    each = " AND ".join(f"has_any_column_privilege('{table}', '{what}')" for table, what in wanted)
    return bool(connection.scalar(text(f"SELECT {each}")))


def suits(revision: str | None, newest: str) -> bool:
    """Tell whether a release whose head is `newest` works on this revision: on its own, or a later one, which adds."""
    return revision is not None and len(revision) == len(newest) and revision.isdigit() and revision >= newest


def is_behind(found: str | None) -> bool:
    """Tell whether `penstock migrate` of this release brings a database at `found` to where it must be."""
    return found is None or found in revisions()[:-1]


def wrong(found: str | None) -> str | None:
    """Return what is wrong with a database at `found`, and the cure; None: this release works with it."""
    newest = revisions()[-1]
    if suits(found, newest):
        return None
    if is_behind(found):
        return f"the schema is at {found or 'nothing'}, needs {newest}: run penstock migrate"
    return f"the schema is at {found}, needs {newest}, and no penstock migrate leads there: is it the right database?"
