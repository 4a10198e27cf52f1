"""`python -m jobs.migrations`: what `penstock migrate` does, where there is no command: DATABASE_URL must be set."""

import sys

from jobs.database import DatabaseSettings
from jobs.migrations.running import bring
from jobs.startup import starting

if __name__ == "__main__":
    with starting("The migration"):
        sys.stdout.write(f"{bring(DatabaseSettings()).told}\n")
