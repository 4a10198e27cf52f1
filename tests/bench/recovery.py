"""The measure of recovery: what runs a job is killed, again and again, and the next attempt is waited for."""

import http.client
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from deploy.stack.child import Child
from tests.bench import measures
from tests.bench.figures import Round, percentile
from tests.bench.options import Options
from tests.bench.penstock import Penstock
from tests.bench.processes import NeverHappenedError, wait_until

TASKS: Final = "tests.worker_tasks"
"""Where the task is that takes long in its first attempt, and no time in the next."""
LONG_SECONDS: Final = 600.0
NEXT_START: Final = "SELECT extract(epoch FROM started_at) FROM attempts WHERE job_id = %s AND number = 2"
RESCUED_SECONDS: Final = 120.0
"""For the next start, beyond the lease; a bound for the run, and no aim."""


@dataclass(frozen=True)
class _Running:
    """A job, and the process that runs it."""

    job_id: str
    pid: int


def look(stack: Penstock, options: Options) -> tuple[Round, Round]:
    """From the death of a process, and from the death of a whole worker, to the start of the next attempt.

    One death at a time, by the clock of the one machine that all of it runs on.
    """
    stack.extra = {"PENSTOCK_TASK_MODULES": TASKS, "PENSTOCK_LEASE_SECONDS": f"{options.lease_seconds:g}"}
    try:
        stack.reset()
        stack.start()
        processes = [_lose_process(stack, number, options) for number in range(options.lost_processes)]
        workers = [_lose_worker(stack, number, options) for number in range(options.lost_workers)]
    finally:
        stack.stop()
        stack.extra = {}
    return _round(processes), _round(workers)


def _lose_process(stack: Penstock, number: int, options: Options) -> float:
    running = _begun(stack, f"process-{number}")
    killed_at = time.time()
    os.kill(running.pid, signal.SIGKILL)
    return _next_start(stack, running, options) - killed_at


def _lose_worker(stack: Penstock, number: int, options: Options) -> float:
    running = _begun(stack, f"worker-{number}")
    worker = _worker_of(stack, running)
    killed_at = time.time()
    worker.kill()
    took = _next_start(stack, running, options) - killed_at
    worker.start()
    return took


def _begun(stack: Penstock, name: str) -> _Running:
    """Submit a job and return it when it runs."""
    log = Path(stack.folder) / f"{name}.began"
    job_id = _submit(stack, {"task": "probe.long_first", "payload": {"seconds": LONG_SECONDS, "log": str(log)}})
    wait_until(
        lambda: log.exists() and log.read_text().endswith("\n"),
        seconds=measures.JOB_SECONDS,
        what="a job begins",
        every=0.01,
    )
    return _Running(job_id, int(log.read_text().split()[1]))


def _submit(stack: Penstock, job: dict[str, object]) -> str:
    target = stack.one(job)
    line = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=measures.JOB_SECONDS)
    headers = {"Content-Type": "application/json", "Authorization": target.authorization}
    line.request("POST", target.path, target.body, headers)
    answer = line.getresponse()
    body = json.loads(answer.read())
    line.close()
    if answer.status != http.client.ACCEPTED:
        raise NeverHappenedError(f"a job was answered {answer.status}: {body}")
    return str(body["id"])


def _worker_of(stack: Penstock, running: _Running) -> Child:
    parent = psutil.Process(running.pid).ppid()
    return next(worker for worker in stack.workers if worker.pid == parent)


def _next_start(stack: Penstock, running: _Running, options: Options) -> float:
    """When the second attempt began, as a Unix time."""
    found: list[float] = []

    def has_begun() -> bool:
        row = watch.execute(NEXT_START, [running.job_id]).fetchone()
        found.extend(float(one) for one in row or ())
        return bool(found)

    with stack.watch() as watch:
        seconds = options.lease_seconds + RESCUED_SECONDS
        wait_until(has_begun, seconds=seconds, what="the next attempt begins", every=0.02)
    return found[0]


def _round(took: list[float]) -> Round:
    ms = [seconds * 1000 for seconds in took]
    return Round(count=len(ms), p50_ms=percentile(ms, 50), p99_ms=percentile(ms, 99), max_ms=max(ms))
