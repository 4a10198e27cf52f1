"""`python -m tests.chaos`: the whole stack under load and under faults; 0 when nothing was lost or doubled."""

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice, takewhile
from pathlib import Path

from deploy.stack.home import ROOT
from tests.chaos.ledger import fingerprint
from tests.chaos.mix import Request, pauses, requests
from tests.chaos.options import Options, parse
from tests.chaos.run import BOUND_SECONDS, CHECK_SHARE, Interrupted, Run, schedule

GOOD, WRONG, BROKEN, INTERRUPTED = 0, 1, 2, 130
LEFT_OUT = frozenset({"postgres", "broker", "tmp"})
"""The servers' own files, of which logs and tables are kept apart, and what processes leave behind."""
END_SECONDS = 60.0
"""After its bound, by which a run that does not end is ended with force."""


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    options = parse()
    print(f"seed {options.seed}; again: {options.command}", flush=True)
    if options.plan:
        print(plan(options))
        return GOOD
    sys.setswitchinterval(0.001)  # the links between the processes go through threads of this one
    home = Path(tempfile.mkdtemp(prefix="penstock-chaos-"))
    home.chmod(0o711)  # servers may run under another account
    try:
        return _run(options, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(options: Options, home: Path) -> int:
    folder = Path(os.environ.get("PENSTOCK_HOME", ROOT / ".run"))
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    (home / "plan.txt").write_text(plan(options))
    run = Run(options, home, _teller(options), over)
    ends = _bounded(options, run, over)
    report = None
    try:
        report = run.execute()
    except Interrupted:
        print("interrupted; everything has been ended", flush=True)
        return INTERRUPTED
    except BaseException:
        print(f"the run broke; what it left is in {_keep(home, folder, options, 'broken')}", flush=True)
        raise
    finally:
        ends.cancel()
    print(report.as_markdown())
    print(f"written to {', '.join(str(path) for path in report.write(folder))}")
    if report.is_good and not options.keep:
        return GOOD
    kept = _keep(home, folder, options, "kept" if report.is_good else "failed")
    print(f"kept in {kept}; again: {options.command}")
    return GOOD if report.is_good else WRONG


def plan(options: Options) -> str:
    """Return what a run will do, as far as the seed decides it: every fault, and what is asked for."""
    lines = [
        f"{fault.at:7.2f} s  {fault.kind:<28} {fault.where:<22} for {fault.seconds:5.2f} s  lot {fault.lot:.3f}"
        for fault in schedule(options)
    ]
    lines += [
        f"{pause.at:7.2f} s  {'queue paused':<28} {pause.queue:<22} for {pause.seconds:5.2f} s"
        for pause in takewhile(lambda one: one.at < options.seconds, pauses(options.seed))
    ]
    asked = list(islice(requests(options.seed, options.rate), int(options.seconds * options.rate)))
    asked = [request for request in asked if request.at < options.seconds]
    jobs = Counter(wish.task for request in asked for wish in request.wishes)
    calls = Counter(wish.then.call for request in asked for wish in request.wishes if wish.then)
    lines.append(f"{len(asked):,} requests for {jobs.total():,} jobs, digest {_digest(asked)}")
    lines.append(", ".join(f"{count:,} {task}" for task, count in jobs.most_common()))
    lines.append(", ".join(f"{count:,} {call}" for call, count in calls.most_common()))
    return "\n".join(lines) + "\n"


def _digest(asked: list[Request]) -> str:
    """Return a short text that is the same for the same requests."""
    return fingerprint([asdict(request) for request in asked])


def _teller(options: Options) -> Callable[[str], None]:
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"[{options.broker} {time.monotonic() - began:4.0f} s] {what}", flush=True)

    return tell


def _bounded(options: Options, run: Run, over: threading.Event) -> threading.Timer:
    """Return a running timer that ends the run at its bound: first in good order, then with force."""

    def end() -> None:
        print("the run does not end; it is told to", flush=True)
        faulthandler.dump_traceback()
        over.set()
        force = threading.Timer(END_SECONDS, end_with_force)
        force.daemon = True
        force.start()

    def end_with_force() -> None:
        run.plant.kill()
        os._exit(BROKEN)

    timer = threading.Timer(options.seconds * (1 + CHECK_SHARE) + BOUND_SECONDS, end)
    timer.daemon = True
    timer.start()
    return timer


def _keep(home: Path, folder: Path, options: Options, what: str) -> Path:
    """Move what people need to understand a run to a folder that stays, and return it."""
    kept = folder / f"chaos-{what}-{options.seed}-{options.broker}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for found in home.iterdir():
        if found.name not in LEFT_OUT:
            shutil.move(found, kept / found.name)
    return kept


if __name__ == "__main__":
    sys.exit(main())
