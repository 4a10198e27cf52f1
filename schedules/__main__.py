"""`python -m schedules`: run a beat process."""

import sys

from pydantic import ValidationError

from jobs.errors import PenstockError
from jobs.misconfiguration import told

if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stderr.write("Beat takes no arguments: its settings come from the environment, PENSTOCK_*.\n")
        sys.exit(2)
    try:
        from schedules.app import run  # reads the first settings, which may be wrong

        run()
    except ValidationError as error:
        sys.stderr.write(f"Beat cannot start: {told(error)}\n")
        sys.exit(2)
    except PenstockError as error:
        sys.stderr.write(f"Beat cannot start: {error}\n")
        sys.exit(2)
