"""Somebody who submits one job after another, each under a key, and asks again until it is acknowledged."""

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from sqlalchemy import Engine, text

from jobs.database import reading
from tests.services.stack import eventually

PACE_SECONDS: Final = 0.02
END_SECONDS: Final = 60.0


@dataclass
class Insistent:
    """A client with patience, and what it was told."""

    client: httpx.Client
    """To the API, `/api/v1` and the key included."""
    wish: Mapping[str, Any] = field(default_factory=lambda: {"task": "demo.noop"})
    ids: list[str] = field(default_factory=list)
    """Of the jobs that were acknowledged, in order."""
    statuses: set[int] = field(default_factory=set)
    """That were answered; 0: no answer came."""

    @contextmanager
    def submitting(self) -> Iterator["Insistent"]:
        """Submit for as long as the block takes; what was begun then is insisted on to its end."""
        over = threading.Event()
        thread = threading.Thread(target=self._run, args=(over,), name="insistent")
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join(END_SECONDS)
        assert not thread.is_alive(), "a job was never acknowledged"

    def _run(self, over: threading.Event) -> None:
        while not over.wait(PACE_SECONDS):
            key = {"Idempotency-Key": str(uuid.uuid4())}
            while not self._is_acknowledged(key):
                threading.Event().wait(PACE_SECONDS)

    def _is_acknowledged(self, key: Mapping[str, str]) -> bool:
        try:
            answer = self.client.post("/jobs", json=self.wish, headers=key)
        except httpx.TransportError:
            self.statuses.add(0)
            return False
        self.statuses.add(answer.status_code)
        if answer.status_code == httpx.codes.ACCEPTED:
            self.ids.append(answer.json()["id"])
        return answer.status_code == httpx.codes.ACCEPTED

    def goes_on(self, count: int, seconds: float = END_SECONDS) -> None:
        """Return when so many more jobs were acknowledged."""
        wanted = len(self.ids) + count
        eventually(lambda: len(self.ids) >= wanted, seconds, f"{count} more jobs are acknowledged")


def settled(engine: Engine, ids: Sequence[str], seconds: float = END_SECONDS) -> None:
    """Return when all these jobs have succeeded, each by one attempt that counts; one that is not there is lost."""
    those = "FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))"
    wanted = {"ids": list(ids)}
    engine.dispose()  # its connections may be to a server that is gone

    def ask(query: str) -> int:
        with reading(engine) as connection:
            return int(connection.scalar(text(query), wanted) or 0)

    assert ask(f"SELECT count(*) {those}") == len(set(ids)), "none is lost"
    left = f"SELECT count(*) {those} AND state <> 'succeeded'"
    eventually(lambda: not ask(left), seconds, f"{len(ids)} jobs have succeeded")
    good = "SELECT count(*) FROM attempts WHERE job_id = ANY(CAST(:ids AS uuid[])) AND outcome = 'succeeded'"
    assert ask(good) == len(set(ids)), "one attempt at each counts"
