"""`python -m deploy.stack.prepare`: the database has this release's schema, and the stack a key that opens its API.

A process of its own, so that the supervisor stays as small as what it does. DATABASE_URL names the database,
PENSTOCK_KEY_FILE the file (mode 0600) in which the key is kept for the next start.
"""

import os
import sys
from pathlib import Path

from sqlalchemy import Engine

from deploy.stack.server import write_private
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.errors import PenstockError
from jobs.keys import authenticate, create_key
from jobs.migrations import upgrade


def keep_key(engine: Engine, file: Path) -> None:
    """Leave `file` holding a key that this database knows; a key of another database is replaced."""
    with transaction(engine) as connection:
        if file.exists() and authenticate(connection, file.read_text().strip()):
            return
        key = create_key(connection, name="local stack")
    write_private(file, key + "\n")


def main() -> int:
    """Migrate and keep the key; returns the exit code."""
    try:
        # The first statement of a new cluster may find it busy: seconds rather than the API's half of one.
        settings = DatabaseSettings(database_acquire_timeout_seconds=10.0)
        engine = open_engine(settings, application_name="penstock-prepare")
        upgrade(engine)
        keep_key(engine, Path(os.environ["PENSTOCK_KEY_FILE"]))
    except (PenstockError, ValueError) as error:
        print(f"The database cannot be prepared: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
