"""`python -m jobs.migrations`: bring the database of DATABASE_URL to this release's schema."""

import sys

from alembic.util import CommandError as AlembicError

from jobs.database import DatabaseSettings, open_engine
from jobs.errors import ConfigurationError, SchemaHeld, Unavailable
from jobs.migrations import current, head, upgrade
from jobs.startup import StartSettings, look_at_database, starting, wait_for


def main() -> None:
    """Upgrade, and say from where to where."""
    settings = DatabaseSettings()
    wait_for([look_at_database(settings, is_migrated=False)], StartSettings().start_wait_seconds)
    engine = open_engine(settings, application_name="penstock-migrate")
    before = current(engine)
    try:
        upgrade(engine)
    except SchemaHeld as error:
        raise Unavailable(f"{error} pg_stat_activity shows the longest transaction; end it, try again.") from None
    except AlembicError as error:
        raise ConfigurationError(f"{error}. The database was made by another release; use that one's.") from None
    sys.stdout.write(f"schema {before or 'empty'} -> {head()}\n")


if __name__ == "__main__":
    with starting("The migration"):
        main()
