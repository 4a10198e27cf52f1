"""The measures of schedules: how late many are that are due in one second, and what they cost while none is."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

import psutil

from jobs.database import transaction
from jobs.planning import editing
from jobs.planning.model import Definition
from tests.bench.figures import Round, percentile
from tests.bench.penstock import Penstock
from tests.bench.processes import NeverHappenedError, wait_until
from tests.bench.stacks import Watch
from tests.services.databases import connect_to

FEW: Final = 1_000
"""Idle schedules, to see beside them what very many cost."""
DUE_IN: Final = timedelta(seconds=3)
FIRED_SECONDS: Final = 60.0
LOOK_EVERY: Final = 0.005


def lateness(stack: Penstock, count: int, settle_seconds: float) -> Round:
    """`count` schedules due in the same second: from that second to when the job is committed, for all to see."""
    _settle(stack, stack.start_beat(), settle_seconds)
    _write(stack, count)
    due_at = datetime.now(UTC).replace(microsecond=0) + DUE_IN
    with stack.watch() as watch:
        watch.execute("UPDATE schedules SET once = %s, next_at = %s", [due_at.isoformat(), due_at])
    if datetime.now(UTC) >= due_at:
        raise NeverHappenedError("setting the schedules took longer than they had")
    took: list[float] = []
    with stack.watch() as watch:
        deadline = time.monotonic() + FIRED_SECONDS
        while len(took) < count:
            seen, at = _seen(watch)
            took += [(at - due_at).total_seconds() * 1000] * (seen - len(took))
            if time.monotonic() > deadline:
                raise NeverHappenedError(f"{len(took)} of {count} schedules were fired")
            time.sleep(LOOK_EVERY)
    return Round(count=count, p50_ms=percentile(took, 50), p95_ms=percentile(took, 95), p99_ms=percentile(took, 99))


def _write(stack: Penstock, count: int) -> None:
    """As many schedules of a far day are stored as if each had been written over HTTP."""
    definition = Definition(once="2999-01-01T00:00:00Z", task="demo.noop", queue="default")
    engine = connect_to(stack.database_url, pool_size=1)
    with transaction(engine) as connection:
        for number in range(count):
            editing.put(connection, f"due-{number}", lambda *_: definition, editing.ANYBODY)
    engine.dispose()


def _seen(watch: Watch) -> tuple[int, datetime]:
    row = watch.execute("SELECT count(*), clock_timestamp() FROM jobs").fetchone()
    assert row is not None
    return int(row[0]), row[1]


def idle(stack: Penstock, count: int, seconds: float, settle_seconds: float) -> Round:
    """A beat with `count` schedules of which none is due: its share of a core, and its resident memory."""
    with stack.watch() as watch:
        watch.execute(_MANY, {"count": count})
        watch.execute("ANALYZE schedules")
    beat = stack.start_beat()
    _settle(stack, beat, settle_seconds)
    before, began = _cpu_seconds(beat), time.monotonic()
    time.sleep(seconds)  # nothing tells of the end of a round in which nothing is due
    used, took = _cpu_seconds(beat) - before, time.monotonic() - began
    return Round(count=count, cpu_percent=100 * used / took, rss_mb=beat.memory_info().rss / 2**20)


#: Spread over a day that is to come, as if each had been written over HTTP.
_MANY: Final = """
    INSERT INTO schedules (id, name, source, cron, zone, on_gap, on_fold, jitter_seconds, task, payload, queue,
                           priority, tags, catch_up, catch_up_window_seconds, catch_up_limit, overlap, decided_until,
                           next_at, zone_data, created_at, updated_at)
    SELECT gen_random_uuid(), 'idle-' || n, 'api', '0 0 1 1 *', 'Europe/Berlin', 'run', 'once', 0, 'demo.noop', '{}',
           'default', 5, '{}', 'latest', 86400, 100, 'allow', now(),
           now() + interval '1 day' + n * interval '1 s', '9999z', now(), now()
      FROM generate_series(1, %(count)s) AS n
"""


def _settle(stack: Penstock, beat: psutil.Process, seconds: float) -> None:
    """Return when beat has started and has had its first rounds."""
    wait_until(
        lambda: _cpu_seconds(beat) > 0 and "beat: Starting" in (stack.folder / "schedules.log").read_text(),
        seconds=FIRED_SECONDS,
        what="beat has started",
        check=stack.programs.check,
    )
    time.sleep(seconds)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
