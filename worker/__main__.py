"""`python -m worker`: run a worker process; further arguments go to Celery."""

import sys

from pydantic import ValidationError

from jobs.errors import PenstockError
from worker.app import run

if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except (PenstockError, ValidationError) as error:
        sys.stderr.write(f"The worker cannot start: {error}\n")
        sys.exit(2)
