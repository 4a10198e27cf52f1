"""`python -m worker`: run a worker process."""

import sys

from pydantic import ValidationError

from jobs.errors import PenstockError
from jobs.misconfiguration import told

if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stderr.write("The worker takes no arguments: its settings come from the environment, PENSTOCK_WORKER_*.\n")
        sys.exit(2)
    try:
        from worker.app import run  # reads the first settings, which may be wrong

        sys.exit(run())
    except ValidationError as error:
        sys.stderr.write(f"The worker cannot start: {told(error)}\n")
        sys.exit(2)
    except PenstockError as error:
        sys.stderr.write(f"The worker cannot start: {error}\n")
        sys.exit(2)
