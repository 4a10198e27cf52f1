"""`python -m schedules`: run a beat process; further arguments go to Celery."""

import sys

from pydantic import ValidationError

from jobs.errors import PenstockError
from schedules.app import run

if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except (PenstockError, ValidationError) as error:
        sys.stderr.write(f"Beat cannot start: {error}\n")
        sys.exit(2)
