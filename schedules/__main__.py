"""`python -m schedules`: run a beat process."""

import sys

from jobs.startup import starting

if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stderr.write("Beat takes no arguments: its settings come from the environment, PENSTOCK_*.\n")
        sys.exit(2)
    with starting("Beat"):
        from schedules.app import run  # reads the first settings, which may be wrong

        run()
