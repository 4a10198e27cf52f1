"""`python -m worker`: run a worker process."""

import sys

from pydantic import ValidationError

from jobs.errors import PenstockError
from worker.app import run

if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stderr.write("The worker takes no arguments: its settings come from the environment, PENSTOCK_WORKER_*.\n")
        sys.exit(2)
    try:
        sys.exit(run())
    except (PenstockError, ValidationError) as error:
        sys.stderr.write(f"The worker cannot start: {error}\n")
        sys.exit(2)
