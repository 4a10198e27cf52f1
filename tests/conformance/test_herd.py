"""A server that all jobs call was away and is back: they do not fall upon it together."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.services.insistent import settled
from tests.services.processes import all_processes
from tests.services.stack import eventually

JOBS: Final = 120
SLOTS: Final = 4
BACKOFF_SECONDS: Final = 12
PATIENT: Final = {"max_retries": 10, "backoff_seconds": BACKOFF_SECONDS, "backoff_max_seconds": BACKOFF_SECONDS}
SERVICE_SECONDS: Final = 0.03
"""That one answer takes."""
AWAY_SECONDS: Final = 60
BACK_SECONDS: Final = 120


class Target(ThreadingHTTPServer):
    """Answers 503 while it is away; knows who came when, and how many were there at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.is_away = True
        self.came: list[tuple[str, float]] = []
        self.most_at_once = 0
        self._here = 0
        self._lock = threading.Lock()

    def enter(self, who: str) -> None:
        with self._lock:
            self.came.append((who, time.monotonic()))
            self._here += 1
            self.most_at_once = max(self.most_at_once, self._here)

    def leave(self) -> None:
        with self._lock:
            self._here -= 1


class _Handler(BaseHTTPRequestHandler):
    server: Target

    def do_GET(self) -> None:
        self.server.enter(self.path)
        threading.Event().wait(SERVICE_SECONDS)
        status = 503 if self.server.is_away else 200
        self.server.leave()  # before the answer: the next may come as soon as it is read
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_jobs_whose_target_was_away_come_back_one_by_one(
    target: Target, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    own = {"PENSTOCK_HTTP_ALLOW_PRIVATE_ADDRESSES": 1, "PENSTOCK_WORKER_CONCURRENCY": SLOTS}
    urls = [f"http://127.0.0.1:{target.server_port}/{number}" for number in range(JOBS)]
    wishes = [{"task": "http.request", "payload": {"url": url}, "retry": PATIENT} for url in urls]
    with all_processes(tmp_path, database_url, broker_url, **own) as site:
        answer = site.client.post("/jobs/batch", json={"jobs": wishes})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        eventually(lambda: len({who for who, _ in target.came}) == JOBS, AWAY_SECONDS, "all have met it away")
        target.is_away, back_at = False, time.monotonic()
        settled(site.engine, answer.json()["ids"], BACK_SECONDS)

    after = [at - back_at for _, at in target.came if at >= back_at]
    busiest = max(Counter(int(at) for at in after).values())
    assert target.most_at_once <= SLOTS
    assert len(after) <= JOBS, "nobody comes again who was served"
    assert busiest <= JOBS / 3
