"""`python -m tests.audit`: 0 when nothing was found, 1 when something was, 2 when --strict and one is not reached."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from deploy.stack.home import ROOT
from tests.audit.finding import Part, Verdict
from tests.audit.page import as_json, table, write
from tests.audit.parts import advisories, bill, code, secrets, workflows

GOOD, WRONG, NOT_ASKED = 0, 1, 2
BILL: Final = "penstock.cdx.json"


def main() -> int:
    """Run all parts and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail when somebody could not be asked")
    parser.add_argument("--page", action="store_true", help="write docs/reference/audit.md as well")
    options = parser.parse_args()
    folder = Path(os.environ.get("PENSTOCK_HOME", ROOT / ".run")) / "audit"
    parts = [advisories(), code(), secrets(), bill(folder / BILL), workflows()]
    files = [folder / BILL, *write(as_json(parts), folder, with_page=options.page)]
    print(table(parts))
    print(f"written to {', '.join(map(str, files))}")
    return exit_code(parts, strict=options.strict)


def exit_code(parts: list[Part], *, strict: bool) -> int:
    """Return what the command ends with."""
    verdicts = {part.verdict for part in parts}
    if Verdict.FOUND in verdicts:
        return WRONG
    return NOT_ASKED if strict and Verdict.NOT_ASKED in verdicts else GOOD


if __name__ == "__main__":
    sys.exit(main())
