"""Holds the history of a run to its invariants. `python -m tests.chaos.checker --help` says how."""

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from jobs.state import Outcome
from tests.chaos import (  # noqa: F401 - each registers its invariants
    invariants_executions,
    invariants_promises,
    invariants_records,
    invariants_time,
)
from tests.chaos.history import History, Life, Terms, read_history
from tests.chaos.invariant import OF_A_JOB, OF_THE_RUN, Meaning, Register
from tests.chaos.invariants_executions import outlived
from tests.chaos.invariants_records import FENCED
from tests.chaos.invariants_time import holdings
from tests.chaos.ledger import Status
from tests.chaos.report import Counts, Report

OUTLIVED_SECONDS: Final = 0.5
"""From which on a function is counted among those that ran on after their attempt was given up."""


def check(history: History, watch: Callable[[Life], None] | None = None) -> Report:
    """Return what is wrong with the history, and how much of it was looked at; `watch` is shown each life as well."""
    report, register = Report(), Register(history)
    for life in history.lives:
        for invariant, check_job in OF_A_JOB.items():
            report.note(invariant, life.job_id, list(check_job(life, history.terms)))
        _count(report.counts, life, history.terms)
        _enter(register, life)
        if watch:
            watch(life)
    for invariant, check_run in OF_THE_RUN.items():
        for job_id, found in check_run(register):
            report.note(invariant, job_id, [found])
    _count_tries(report.counts, register)
    report.counts.lost = len(report.struck[Meaning.LOSS])
    report.counts.doubled = len(report.struck[Meaning.DOUBLING])
    report.broken = +report.broken
    return report


def _count(counts: Counts, life: Life, terms: Terms) -> None:
    if life.job:
        counts.jobs += 1
        counts.states[life.job.state] += 1
    counts.acknowledged += any(one.submission.status is Status.ACKNOWLEDGED for one in life.promises)
    counts.fenced += sum(event.name == FENCED for event in life.events)
    counts.executions += len(life.executions)
    for execution in life.executions:
        attempt = life.attempt_by_number.get(execution.attempt)
        if attempt is None or attempt.outcome != Outcome.SUCCEEDED:
            counts.extra_executions += 1
            counts.explained[(attempt.outcome or "running") if attempt else "nothing"] += 1
    for _, ran in outlived(life, terms):
        counts.outlived += ran > OUTLIVED_SECONDS
        counts.outlived_longest = max(counts.outlived_longest, round(ran, 1))


def _enter(register: Register, life: Life) -> None:
    job = life.job
    if job is None:
        return
    register.replay_of[job.id] = job.replay_of
    if job.request_id is not None:
        register.by_request[job.request_id].append(job.id)
    # The client's word counts as well: a key that was not stored is not held, and was promised to be.
    asked = [promise.wanted.unique_key for promise in life.promises if promise.wanted]
    for key in {key for key in (job.unique_key, *asked) if key and life.events}:
        held = register.unique[job.tenant, key]
        held += [(since, until, job.id) for since, until in holdings(life, register.history.at)]


def _count_tries(counts: Counts, register: Register) -> None:
    for one in register.history.ledger.submissions:
        counts.refused += one.status is Status.REFUSED
        if one.status is Status.UNKNOWN:
            counts.unknown += 1
            counts.unknown_but_present += one.request_id is not None and one.request_id in register.by_request


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from looking through millions of records for cycles again and again: there are none in them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check_run(
    database_url: str, *, ledger: Path | None = None, executions: Path | None = None, terms: Terms | None = None
) -> Report:
    """Read what is on record of a run and return what is wrong with it."""
    with no_collection(), read_history(database_url, ledger=ledger, executions=executions, terms=terms) as history:
        return check(history)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's choices."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.checker", description=__doc__)
    parser.add_argument(
        "--database-url-from-env",
        metavar="NAME",
        nargs="?",
        const="DATABASE_URL",
        default="DATABASE_URL",
        help="environment variable that holds the database's url, which may hold a password; default: DATABASE_URL",
    )
    parser.add_argument("--ledger", type=Path, help="what clients were told; without it only the tables are checked")
    parser.add_argument("--executions", type=Path, help="what tasks wrote down")
    parser.add_argument(
        "--drained", action="store_true", help="nothing was left to do: demand that every job has ended"
    )
    parser.add_argument("--lease-seconds", type=float, default=Terms().lease_seconds, help="of the run's workers")
    parser.add_argument("--json", type=Path, help="where to write the report as JSON")
    return parser.parse_args(arguments)


def main() -> int:
    """Print what was found; 0 when every invariant held, 1 when one did not, 2 when there is nothing to check."""
    chosen = parse()
    url = os.environ.get(chosen.database_url_from_env)
    if not url:
        print(f"{chosen.database_url_from_env} is not set: it names the database to check", file=sys.stderr)
        return 2
    terms = Terms(drained=chosen.drained, lease_seconds=chosen.lease_seconds)
    report = check_run(url, ledger=chosen.ledger, executions=chosen.executions, terms=terms)
    report.show(Console(width=None if sys.stdout.isatty() else 140))
    if chosen.json:
        chosen.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
