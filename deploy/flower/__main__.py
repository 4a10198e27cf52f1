"""`python -m deploy.flower`: run Flower against our broker, behind its password and under its prefix."""

import sys

from pydantic import ValidationError

from jobs.errors import PenstockError
from jobs.misconfiguration import told

if __name__ == "__main__":
    try:
        from deploy.flower.app import run  # reads the first settings, which may be wrong

        run(sys.argv[1:])
    except ValidationError as error:
        sys.stderr.write(f"Flower cannot start: {told(error)}\n")
        sys.exit(2)
    except PenstockError as error:
        sys.stderr.write(f"Flower cannot start: {error}\n")
        sys.exit(2)
