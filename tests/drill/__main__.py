"""`python -m tests.drill`: the restore drill; 0 when everything that was acknowledged before the point came back."""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from deploy.stack.home import ROOT
from tests.drill.options import Options, parse
from tests.drill.report import as_markdown, write
from tests.drill.run import Drill

GOOD, WRONG, BROKEN = 0, 1, 2
BOUND_SECONDS: Final = 200.0
"""By which a drill is over after its load, whatever happened."""


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    options = parse()
    print(f"seed {options.seed}; again: {options.command}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(BROKEN))
    home = Path(tempfile.mkdtemp(prefix="penstock-drill-"))
    home.chmod(0o711)  # the server's account must reach its folders below
    folder = Path(os.environ.get("PENSTOCK_HOME", ROOT / ".run"))
    try:
        return _run(options, home, folder)
    except BaseException:
        shutil.copytree(home / "log", folder / "restore-drill-log", dirs_exist_ok=True)
        raise
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(options: Options, home: Path, folder: Path) -> int:
    began = time.monotonic()
    drill = Drill(options, home, lambda what: print(f"[{time.monotonic() - began:4.0f} s] {what}", flush=True))
    over = threading.Timer(options.seconds + BOUND_SECONDS, _end_with_force, [drill])
    over.daemon = True
    over.start()
    outcome = drill.execute()
    over.cancel()
    print(as_markdown(outcome))
    print(f"written to {', '.join(map(str, write(outcome, folder)))}")
    if not outcome.is_good:
        shutil.copytree(home / "log", folder / "restore-drill-log", dirs_exist_ok=True)
    return GOOD if outcome.is_good else WRONG


def _end_with_force(drill: Drill) -> None:
    print("the drill does not end; everything is killed", flush=True)
    drill.site.close()
    shutil.rmtree(drill.site.home, ignore_errors=True)
    os._exit(BROKEN)


if __name__ == "__main__":
    sys.exit(main())
