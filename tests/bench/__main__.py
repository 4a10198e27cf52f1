"""`python -m tests.bench`: measures, shows the table, writes bench.json."""

import os
import shutil
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from tests.bench.contest import Contest
from tests.bench.load import choose_client
from tests.bench.machine import commit, machine, versions
from tests.bench.options import Options, parse
from tests.bench.processes import ROOT
from tests.bench.report import Report
from tests.bench.servers import fsync_ms, started_servers


def measure(options: Options, home: Path, console: Console) -> Report:
    """The report of one run; servers and programs have come and gone, with their state under `home`."""
    began, began_at = time.monotonic(), datetime.now(UTC)
    facts = machine() | {"fsync of 8 KiB": f"{fsync_ms(home):.2f} ms"}

    def tell(what: str) -> None:
        console.print(f"[{time.monotonic() - began:4.0f} s] {what}", highlight=False, markup=False)

    tell(f"starting PostgreSQL, Valkey{' and RabbitMQ' if options.broker == 'rabbitmq' else ''}")
    with started_servers(home, options.broker) as servers:
        found = versions() | servers.facts() | {"broker": options.broker, "client": choose_client(options.client)}
        measures = Contest(servers, options, home, tell).run()
    facts["load after"] = f"{os.getloadavg()[0]:.2f} (1 min)"
    return Report(began_at, time.monotonic() - began, commit(), facts, found, options, measures)


def main() -> int:
    """0 when every request was accepted, 1 otherwise; what is wanted and not reached is shown, not punished."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the programs are ended
    home = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    home.chmod(0o711)  # servers may run under another account
    kept = options.keep
    try:
        report = measure(options, home, Console(stderr=True))
    except BaseException:
        kept = True
        raise
    finally:
        if kept:
            print(f"logs: {home}", file=sys.stderr)
        else:
            shutil.rmtree(home, ignore_errors=True)
    path = Path(os.environ.get("PENSTOCK_HOME", ROOT / ".run")) / "bench.json"
    report.write(path)
    report.show(Console(width=None if sys.stdout.isatty() else 140))
    print(f"written to {path}")
    return 0 if report.is_valid else 1


if __name__ == "__main__":
    sys.exit(main())
