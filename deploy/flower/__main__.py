"""`python -m deploy.flower`: run Flower against our broker, behind its password and under its prefix."""

import sys

from jobs.startup import starting

if __name__ == "__main__":
    with starting("Flower"):
        from deploy.flower.app import run  # reads the first settings, which may be wrong

        run(sys.argv[1:])
