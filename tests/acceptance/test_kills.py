"""2,000 jobs over HTTP while a child, a worker, the API and the broker are killed: all finish, none counts twice."""

import os
import signal
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from tests.services.facts import Facts
from tests.services.stack import Stack, eventually

JOBS = 2000
CLIENTS = 8
SUBMIT_SECONDS = 90.0
RECOVERY_SECONDS = 60.0
"""After the last kill, by which every job must have reached a final state."""

#: What is submitted in turn: quick ones, some that a kill will find running, some that err first.
MIX: Sequence[tuple[str, dict[str, Any]]] = (
    ("demo.noop", {}),
    ("demo.echo", {"message": "through it all"}),
    ("demo.sleep", {"seconds": 0.05}),
    ("demo.noop", {}),
    ("demo.flaky", {"failures": 1}),
)


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"])
def test_kills_of_every_part_lose_no_job_and_accept_none_twice(new_stack: Callable[..., Stack], broker: str) -> None:
    stack = new_stack(BROKER=broker, WORKERS="2", PENSTOCK_LEASE_SECONDS="10").up()
    ledger = Ledger(stack)

    with ThreadPoolExecutor(CLIENTS) as clients:
        submitted = [clients.submit(ledger.submit, number) for number in range(JOBS)]
        for progress, kill in zip((150, 400, 700, 1000), kills(stack, broker), strict=True):
            eventually(lambda progress=progress: finished(stack) >= progress, SUBMIT_SECONDS, f"{progress} jobs ended")  # type: ignore[misc]  # binds the loop's value
            kill()
        for one in submitted:
            one.result()

    eventually(lambda: finished(stack) >= JOBS, RECOVERY_SECONDS, "every job reached a final state")
    facts = Facts(stack.facts["database_url"])
    assert facts.ids == ledger.acknowledged
    assert facts.states == {"succeeded": JOBS}
    assert facts.most_accepted_attempts == 1
    assert facts.gaps_in_attempts == 0
    assert facts.gaps_in_events == 0


def kills(stack: Stack, broker: str) -> list[Callable[[], None]]:
    """Return what ends one of each kind with SIGKILL."""

    def child() -> None:
        worker = psutil.Process(stack.pids("worker")[0])
        os.kill(worker.children()[0].pid, signal.SIGKILL)

    def role(name: str) -> Callable[[], None]:
        return lambda: os.kill(stack.pids(name)[-1], signal.SIGKILL)

    return [child, role("worker"), role("api"), role(broker)]


class Ledger:
    """What the clients were told: a job that was acknowledged, under the key of its one submission."""

    def __init__(self, stack: Stack) -> None:
        """Submit to `stack`."""
        self._facts = stack.facts
        self._lock = threading.Lock()
        self.acknowledged: set[uuid.UUID] = set()

    def submit(self, number: int) -> None:
        """Submit until acknowledged: the key makes each further try safe."""
        task, payload = MIX[number % len(MIX)]
        answer = eventually(
            lambda: self._try(task, payload, f"job-{number}"), SUBMIT_SECONDS, "the job is acknowledged"
        )
        with self._lock:
            self.acknowledged.add(uuid.UUID(answer.json()["id"]))

    def _try(self, task: str, payload: dict[str, Any], key: str) -> httpx.Response | None:
        headers = {"Authorization": f"Bearer {self._facts['api_key']}", "Idempotency-Key": key}
        try:
            answer = httpx.post(
                f"{self._facts['api_url']}/api/v1/jobs",
                json={"task": task, "payload": payload},
                headers=headers,
                timeout=10.0,
            )
        except httpx.TransportError:
            return None
        assert answer.status_code in {202, 503}, answer.text
        return answer if answer.status_code == httpx.codes.ACCEPTED else None


def finished(stack: Stack) -> int:
    with psycopg.connect(stack.facts["database_url"]) as connection:
        row = connection.execute("SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL").fetchone()
    return int(row[0]) if row else 0
