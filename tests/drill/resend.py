"""Clients that send again, under the same keys, what they sent before everything was lost."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import httpx

from tests.chaos.ledger import PATIENCE, Ledger, Status, Submission, Wanted
from tests.drill.findings import Again
from tests.drill.point import Asked

AT_ONCE: Final = 8
PATIENCE_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.5


class Clients:
    """Send to the API at `url`, with the key that they had."""

    def __init__(self, url: str, key: str, ledger: Ledger) -> None:
        """Send nothing yet."""
        self._http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=10.0, trust_env=False
        )
        self._ledger = ledger

    def send_again(self, requests: Sequence[Asked]) -> list[Again]:
        """Return the answer to each of the requests."""
        with self._http, ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._send, requests))

    def _send(self, asked: Asked) -> Again:
        deadline = time.monotonic() + PATIENCE_SECONDS
        for number in range(1, 1_000_000):
            answer = self._try(asked, number)
            is_over = answer.status is not Status.UNKNOWN and answer.code not in PATIENCE
            if is_over or time.monotonic() > deadline:
                return Again(asked, answer)
            time.sleep(PAUSE_SECONDS)
        raise AssertionError("the deadline comes before that")

    def _try(self, asked: Asked, number: int) -> Submission:
        first = asked.tries[0]
        batch = len(first.jobs) > 1
        body = {"jobs": [_body(one) for one in first.jobs]} if batch else _body(first.jobs[0])
        request_id = f"again-{asked.key[:16]}-{number}"
        sent_at = datetime.now(UTC)
        headers = {"Idempotency-Key": asked.key, "X-Request-ID": request_id}
        try:
            answer = self._http.post("/jobs/batch" if batch else "/jobs", json=body, headers=headers)
        except httpx.TransportError:
            answer = None
        problem = _problem(answer) if answer is not None else None
        status = Status.of(answer.status_code if answer is not None else None, problem)
        entry = Submission(
            status=status,
            sent_at=sent_at,
            answered_at=datetime.now(UTC) if answer is not None else None,
            code=answer.status_code if answer is not None else None,
            problem=problem,
            says_when=answer is not None and "Retry-After" in answer.headers,
            key=asked.key,
            fingerprint=first.fingerprint,
            request_id=request_id,
            try_number=number,
            job_ids=_ids(answer) if answer is not None and status is Status.ACKNOWLEDGED else (),
            replayed=answer is not None and answer.headers.get("Idempotency-Replayed") == "true",
            jobs=first.jobs,
        )
        self._ledger.write(entry)
        return entry


def _body(wanted: Wanted) -> dict[str, Any]:
    values = {name: getattr(wanted, name) for name in Wanted.__slots__}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }


def _problem(answer: httpx.Response) -> str | None:
    if "problem+json" not in answer.headers.get("content-type", ""):
        return None
    return str(answer.json()["type"]).rpartition("/")[2]


def _ids(answer: httpx.Response) -> tuple[UUID, ...]:
    told = answer.json()
    return tuple(UUID(one) for one in (told["ids"] if "ids" in told else [told["id"]]))
