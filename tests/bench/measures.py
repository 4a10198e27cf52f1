"""The measures: each gives one stack one turn and says what it came to."""

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.figures import Round, percentile
from tests.bench.hammer import hammer
from tests.bench.load import load
from tests.bench.options import Options
from tests.bench.processes import NeverHappenedError, pause, resume, wait_until
from tests.bench.stacks import ECHO, NOOP, DrainStack, HttpStack, Watch

DRAIN_SECONDS = 180.0
START_AND_WARM_SECONDS = 60.0
FILLED_SECONDS = 30.0
JOB_SECONDS = 30.0
LATENCY_WARM_JOBS = 20
# Between two jobs everything has come to rest: this measures an idle stack.
IDLE_SECONDS = 0.02


def intake(stack: HttpStack, options: Options, client: str, folder: Path) -> Round:
    """Single submissions over `options.connections` connections; no worker runs.

    Raises NeverHappenedError when fewer jobs are stored than were accepted.
    """
    warm_up(stack, options, client, folder)
    return taken_in(stack, options, client, folder, options.intake_seconds)


def warm_up(stack: HttpStack, options: Options, client: str, folder: Path) -> None:
    """The API is up, and has taken jobs in for a while."""
    stack.start_api()
    load(stack.one(ECHO), client=client, connections=options.connections, seconds=options.warm_seconds, folder=folder)


def taken_in(stack: HttpStack, options: Options, client: str, folder: Path, seconds: float) -> Round:
    """The same of an API that is up and warm, for so long."""
    before = stack.rows()
    result = load(stack.one(ECHO), client=client, connections=options.connections, seconds=seconds, folder=folder)
    if stack.rows() - before < result.accepted:
        raise NeverHappenedError(f"{stack.name} accepted {result.accepted} jobs and stored {stack.rows() - before}")
    return Round(
        count=result.accepted,
        per_second=result.per_second,
        p50_ms=result.p50_ms,
        p95_ms=result.p95_ms,
        p99_ms=result.p99_ms,
        refused=result.refused,
    )


def batch(stack: HttpStack, options: Options, connections: int) -> Round:
    """Submissions of `options.batch_size` jobs each; no worker runs. Latencies are those of a whole request."""
    stack.start_api()
    target = stack.batch(options.batch_size, ECHO)
    hammer(target, connections=connections, seconds=options.warm_seconds)
    before = stack.rows()
    result = hammer(target, connections=connections, seconds=options.batch_seconds)
    stored, accepted = stack.rows() - before, result.accepted * options.batch_size
    if stored != accepted:
        raise NeverHappenedError(f"{stack.name} accepted {accepted} jobs and stored {stored}")
    return Round(
        count=accepted,
        per_second=accepted / result.seconds,
        p50_ms=result.p50_ms,
        p95_ms=result.p95_ms,
        p99_ms=result.p99_ms,
        refused=result.refused,
    )


def drain(stack: DrainStack, options: Options, more: Callable[[], int] = lambda: 0) -> Round:
    """`options.drain_jobs` no-op jobs that wait, from the moment the warm workers may go to the last finish.

    `more` is called when they are warm, and returns how many jobs it has submitted besides.
    """
    stack.start()
    warm, count = 10 * options.worker_processes, options.drain_jobs
    stack.submit(warm)
    _wait_for(stack, warm, START_AND_WARM_SECONDS)
    warm += more()
    _wait_for(stack, warm, START_AND_WARM_SECONDS)
    pause(stack.workers)
    try:
        stack.submit(count)
        wait_until(stack.is_filled, seconds=FILLED_SECONDS, what=f"{stack.name}: filled", every=0.2)
        began = time.time()
    finally:
        resume(stack.workers)
    _wait_for(stack, warm + count, DRAIN_SECONDS)
    return Round(count=count, per_second=count / (stack.last_finish() - began))


def latency(stack: HttpStack, jobs: int) -> Round:
    """From just before a POST to the start of the job's attempt, one job at a time, on an idle stack."""
    stack.start_api()
    stack.start_workers()
    line = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=JOB_SECONDS)
    with stack.watch() as watch:
        for _ in range(LATENCY_WARM_JOBS):
            _post_to_start(stack, line, watch)
        took = [_post_to_start(stack, line, watch) for _ in range(jobs)]
    line.close()
    return Round(count=jobs, p50_ms=percentile(took, 50), p95_ms=percentile(took, 95), p99_ms=percentile(took, 99))


def _post_to_start(stack: HttpStack, line: http.client.HTTPConnection, watch: Watch) -> float:
    target = stack.one(NOOP)
    headers = {"Content-Type": "application/json", "Authorization": target.authorization}
    time.sleep(IDLE_SECONDS)
    began = time.time()
    line.request("POST", target.path, target.body, headers)
    answer = line.getresponse()
    body = json.loads(answer.read())
    if answer.status != target.expected:
        raise NeverHappenedError(f"{stack.name} answered {answer.status}: {body}")
    started: list[float] = []

    def has_finished() -> bool:
        at = stack.started_at(body["id"], watch)
        if at is not None:
            started.append(at)
        return bool(started)

    wait_until(
        has_finished, seconds=JOB_SECONDS, what=f"{stack.name}: one job", every=0.005, check=stack.programs.check
    )
    return (started[0] - began) * 1000


def _wait_for(stack: DrainStack, count: int, seconds: float) -> None:
    wait_until(
        lambda: stack.finished() >= count,
        seconds=seconds,
        what=f"{stack.name}: {count} finished jobs",
        every=0.2,
        check=stack.programs.check,
    )
