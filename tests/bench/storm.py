"""Three times the load that a stack can carry: who is accepted how soon, who is refused how soon, and afterwards."""

import resource
import time
from pathlib import Path

from tests.bench.arrivals import Arrivals, arrive
from tests.bench.figures import Round, percentile
from tests.bench.hammer import Target
from tests.bench.load import load
from tests.bench.options import Options
from tests.bench.processes import NeverHappenedError
from tests.bench.stacks import ECHO, HttpStack

TIMES = 3
CALM_MS = 100.0
"""A p99 below this is calm, however calm it was before."""
RECOVERY_SECONDS = 120.0


def overload(stack: HttpStack, options: Options, client: str, folder: Path) -> Round:
    """Arrivals at three times the rate that a closed loop found; no worker runs.

    Latencies count from when a request was due. Raises NeverHappenedError when fewer jobs are stored than were
    accepted, when a process has ended, or when half the rate is not served as before within two minutes.
    """
    _allow_files(options.storm_connections + 200)
    stack.start_api()
    target = stack.one(ECHO)
    settings = {"client": client, "connections": options.connections, "folder": folder}
    load(target, seconds=options.warm_seconds, **settings)  # type: ignore[arg-type]  # one dict for both calls
    capacity = load(target, seconds=options.intake_seconds, **settings).per_second  # type: ignore[arg-type]  # as above
    before = stack.rows()
    calm = _arrive(target, capacity / 2, options.calm_seconds, options)
    storm = _arrive(target, TIMES * capacity, options.storm_seconds, options)
    recovery = _recovery(target, capacity / 2, calm, options)
    stack.programs.check()
    accepted = len(calm.accepted_ms) + len(storm.accepted_ms)
    if stack.rows() - before < accepted:
        raise NeverHappenedError(f"{stack.name} accepted {accepted} jobs and stored {stack.rows() - before}")
    return Round(
        count=len(storm.accepted_ms),
        per_second=len(storm.accepted_ms) / storm.seconds,
        p50_ms=storm.accepted(50),
        p95_ms=storm.accepted(95),
        p99_ms=storm.accepted(99),
        refused=calm.faults + storm.faults,
        capacity_per_second=capacity,
        asked_per_second=storm.sent / storm.seconds,
        refusal_percent=100 * len(storm.refused_ms) / storm.sent,
        refusal_p99_ms=storm.refused(99),
        client_late_p99_ms=percentile(storm.late_ms, 99),
        recovery_seconds=recovery,
    )


def _arrive(target: Target, rate: float, seconds: float, options: Options) -> Arrivals:
    return arrive(target, rate=rate, connections=options.storm_connections, seconds=seconds)


def _recovery(target: Target, rate: float, calm: Arrivals, options: Options) -> float:
    """Seconds from the end of the storm to the begin of the first moments that are as calm as before it."""
    ended = time.monotonic()
    while (began := time.monotonic()) < ended + RECOVERY_SECONDS:
        now = _arrive(target, rate, options.calm_seconds, options)
        if not now.faults and not now.refused_ms and now.accepted(99) < max(2 * calm.accepted(99), CALM_MS):
            return began - ended
    raise NeverHappenedError(f"half the rate is not served as before within {RECOVERY_SECONDS:g} s")


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
