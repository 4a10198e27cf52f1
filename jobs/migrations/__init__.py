"""The schema's history, and the way to its head."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from jobs.database import transaction

_HERE: Final = Path(__file__).parent


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to `revision`; several processes may try at once, one does the work.

    Raises `DatabaseUnavailable` when PostgreSQL is away.
    """
    _run(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the database back to `revision`."""
    _run(engine, command.downgrade, revision)


def _run(engine: Engine, action: object, revision: str) -> None:
    config = _config()
    with transaction(engine) as connection:
        config.attributes["connection"] = connection
        action(config, revision)  # type: ignore[operator]  # one of Alembic's commands, which are untyped functions


def head() -> str:
    """Return the revision that this release of the code was written for."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "the package ships its migrations"  # noqa: S101 - a build without them cannot run
    return revision


def current(engine: Engine) -> str | None:
    """Return the revision that the database is at; None: it has no schema yet."""
    with transaction(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()
