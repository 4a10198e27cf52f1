"""`python -m worker`: run a worker process."""

import sys

from jobs.startup import starting

if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stderr.write("The worker takes no arguments: its settings come from the environment, PENSTOCK_WORKER_*.\n")
        sys.exit(2)
    with starting("The worker"):
        from worker.app import run  # reads the first settings, which may be wrong

        sys.exit(run())
