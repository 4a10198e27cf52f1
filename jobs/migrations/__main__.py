"""`python -m jobs.migrations`: bring the database of DATABASE_URL to this release's schema."""

import sys

from pydantic import ValidationError

from jobs.database import DatabaseSettings, open_engine
from jobs.errors import PenstockError, SchemaHeld
from jobs.migrations import current, head, upgrade


def main() -> int:
    """Upgrade, and say from where to where."""
    try:
        engine = open_engine(DatabaseSettings(), application_name="penstock-migrate")
        before = current(engine)
        upgrade(engine)
    except ValidationError:
        sys.stderr.write(
            "DATABASE_URL is missing or not a PostgreSQL URL; set it to postgresql://user@host:5432/name\n"
        )
        return 2
    except SchemaHeld as error:
        sys.stderr.write(f"{error} pg_stat_activity shows the longest transaction; end it and run this again.\n")
        return 1
    except PenstockError as error:
        sys.stderr.write(f"{error} Check DATABASE_URL and that PostgreSQL is up.\n")
        return 1
    sys.stdout.write(f"schema {before or 'empty'} -> {head()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
