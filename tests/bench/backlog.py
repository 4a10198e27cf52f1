"""The measure of a backlog: the same stack with many jobs waiting, and with few."""

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from kombu import Connection

from tasks.topology import depth, transport_options
from tests.bench import measures
from tests.bench.figures import Round, percentile
from tests.bench.load import load
from tests.bench.options import Options
from tests.bench.penstock import Penstock
from tests.bench.processes import NeverHappenedError, wait_until
from tests.bench.servers import PENSTOCK_PLACE
from tests.bench.stacks import ECHO, NOOP
from tests.services.backlog import PRIORITIES, fill

FILLED_SECONDS: Final = 120.0
FEW: Final = 1000
ENOUGH: Final = 30_000
"""Jobs that are added before the urgent ones, so that these meet a queue on both sides."""
NEARLY: Final = 0.9
"""Of the queue: a drain that comes so far ends early, before the workers have too little to do."""
URGENT: Final[dict[str, Any]] = NOOP | {"priority": 9}


@dataclass(frozen=True)
class Rounds:
    """What one side came to."""

    intake: Round
    drain: Round
    urgent: Round


def look(stack: Penstock, options: Options, client: str, folder: Path, count: int) -> Rounds:
    """Intake beside `count` waiting jobs, their drain, and urgent jobs that are submitted into it."""
    stack.start_api()
    fill(stack.database_url, count)
    window = min(count // len(PRIORITIES), 10_000) * len(PRIORITIES)
    rung = "SELECT count(*) FROM jobs WHERE state = 'queued' AND rung_at IS NOT NULL"
    wait_until(lambda: stack.ask(rung) >= window, seconds=FILLED_SECONDS, what="the windows are full", every=0.5)
    held = _held(stack)
    taken = _intake(stack, options, client, folder)
    stack.start_workers()
    wait_until(lambda: _done(stack) > 0, seconds=FILLED_SECONDS, what="the workers run")
    before = _bytes(stack)
    drain = _drain(stack, options.backlog_seconds)
    fill(stack.database_url, ENOUGH)
    urgent = _urgent(stack, options.latency_jobs)
    grown = _bytes(stack) / before - 1
    facts = {"broker_depth": held, "rss_growth_percent": 100 * grown}
    return Rounds(taken, Round(**drain, **facts), urgent)


def _intake(stack: Penstock, options: Options, client: str, folder: Path) -> Round:
    target = stack.one(ECHO)
    settings: dict[str, Any] = {"client": client, "connections": options.connections, "folder": folder}
    load(target, seconds=options.warm_seconds, **settings)
    result = load(target, seconds=options.intake_seconds, **settings)
    latencies = {"p50_ms": result.p50_ms, "p95_ms": result.p95_ms, "p99_ms": result.p99_ms}
    return Round(count=result.accepted, per_second=result.per_second, refused=result.refused, **latencies)


def _drain(stack: Penstock, seconds: float) -> dict[str, Any]:
    """What is finished within `seconds` while the queue is never empty, and what beat takes for it."""
    beat, left = stack.process("schedules"), int(stack.ask("SELECT count(*) FROM jobs WHERE state = 'queued'"))
    cpu, began, before, done = sum(beat.cpu_times()[:2]), time.monotonic(), _done(stack), 0
    while time.monotonic() - began < seconds and done < left * NEARLY:
        time.sleep(0.1)
        done = _done(stack) - before
    took = time.monotonic() - began
    used = sum(beat.cpu_times()[:2]) - cpu
    return {"count": done, "per_second": done / took, "cpu_percent": 100 * used / took}


def _urgent(stack: Penstock, jobs: int) -> Round:
    line = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=measures.JOB_SECONDS)
    headers = {"Content-Type": "application/json", "Authorization": stack.authorization}
    took: list[float] = []
    with stack.watch() as watch:
        for _ in range(jobs):
            began = time.time()
            line.request("POST", "/api/v1/jobs", json.dumps(URGENT), headers)
            answer = line.getresponse()
            body = json.loads(answer.read())
            if answer.status != http.client.ACCEPTED:
                raise NeverHappenedError(f"an urgent job was answered {answer.status}: {body}")
            wait_until(
                lambda job=body["id"]: stack.started_at(job, watch) is not None,  # type: ignore[misc]  # binds the loop's value
                seconds=measures.JOB_SECONDS,
                what="an urgent job",
                every=0.005,
                check=stack.programs.check,
            )
            took.append(((stack.started_at(body["id"], watch) or 0) - began) * 1000)
    line.close()
    return Round(count=jobs, p50_ms=percentile(took, 50), p95_ms=percentile(took, 95), p99_ms=percentile(took, 99))


def _done(stack: Penstock) -> int:
    """How many jobs have succeeded; unlike the table of jobs, that of attempts is short on both sides."""
    return int(stack.ask("SELECT count(*) FROM attempts WHERE outcome = 'succeeded'"))


def _held(stack: Penstock) -> int:
    url = stack.servers.broker_url(PENSTOCK_PLACE)
    with Connection(url, transport_options=transport_options(url)) as connection:
        return depth(connection, "default")


def _bytes(stack: Penstock) -> int:
    """The resident memory of API, beat and workers, their children too."""
    processes = [psutil.Process(pid) for pid in stack.programs.pids()]
    return sum(one.memory_info().rss for process in processes for one in (process, *process.children(recursive=True)))
