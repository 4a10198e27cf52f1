"""A client as it should be: a key with every request, tried until it is answered, at another API when one is gone.

What it was told goes into the ledger, for the checker.
"""

import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import httpx

from jobs.model import JobId
from tests.chaos.client import asks_again, told_by
from tests.chaos.ledger import Call, Ledger, Operation, Submission, Wanted, fingerprint
from tests.services.stack import eventually

PATIENCE_SECONDS: Final = 40.0


@dataclass
class Client:
    """Somebody with a key, who goes on to the next of `urls` when one does not answer."""

    urls: deque[str]
    key: str
    ledger: Ledger
    http: httpx.Client
    accepted: dict[str, tuple[JobId, dict[str, Any]]] = field(default_factory=dict)
    """By idempotency key: the job, and the request."""

    def submit(self, task: str, queue: str = "default", **wishes: Any) -> JobId:
        """Submit until the job is acknowledged, and return its id."""
        request = {"task": task, "queue": queue, **wishes}
        key = uuid.uuid4().hex
        job_id = self._submit(key, request)
        self.accepted[key] = (job_id, request)
        return job_id

    def submit_again(self) -> None:
        """Repeat every request under its key, and find the same jobs."""
        for key, (job_id, request) in self.accepted.items():
            assert self._submit(key, request) == job_id

    def _submit(self, key: str, request: dict[str, Any]) -> JobId:
        tries = 0
        body = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in request.items()}

        def attempt() -> JobId | None:
            nonlocal tries
            tries += 1
            sent_at, request_id = datetime.now(UTC), f"try-{key}-{tries}"
            answer = self._post("/api/v1/jobs", body, key, request_id)
            job_id = _told(answer, "id", HTTPStatus.ACCEPTED)
            self.ledger.write(
                Submission(
                    **told_by(answer),
                    sent_at=sent_at,
                    key=key,
                    fingerprint=fingerprint(request),
                    request_id=request_id,
                    try_number=tries,
                    job_ids=(job_id,) if job_id else (),
                    replayed=answer is not None and "idempotency-replayed" in answer.headers,
                    jobs=(Wanted(**request),),
                )
            )
            return job_id

        return eventually(attempt, PATIENCE_SECONDS, f"{request['task']} is acknowledged") or uuid.UUID(int=0)

    def order(self, call: Call, job_id: JobId) -> JobId | None:
        """Cancel, retry or replay until that is done, or found done, and return the id of a replay."""
        key = uuid.uuid4().hex if call is Call.REPLAY else None

        def attempt() -> tuple[bool, JobId | None] | None:
            sent_at = datetime.now(UTC)
            answer = self._post(f"/api/v1/jobs/{job_id}/{call}", None, key)
            new = _told(answer, "id", HTTPStatus.CREATED) if call is Call.REPLAY else None
            entry = Operation(call=call, job_id=job_id, new_job_id=new, sent_at=sent_at, **told_by(answer))
            self.ledger.write(entry)
            # Refused with 409: a try before this one, which was not answered, did it.
            return None if asks_again(entry) else (True, new)

        done = eventually(attempt, PATIENCE_SECONDS, f"{call} of {job_id} is done")
        return done[1] if done else None

    def _post(self, path: str, body: Any, key: str | None, request_id: str | None = None) -> httpx.Response | None:
        """Return the answer; None: there was none, and the next try goes elsewhere."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key, "X-Request-ID": request_id}
        given = {name: value for name, value in headers.items() if value}
        try:
            return self.http.post(self.urls[0] + path, json=body, headers=given)
        except httpx.TransportError:
            self.urls.rotate(-1)
            return None


def _told(answer: httpx.Response | None, name: str, status: HTTPStatus) -> JobId | None:
    """Return the id in an answer of that status; no answer is another than that, or one that asks to come again."""
    if answer is None or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    assert answer.status_code == status, answer.text
    return uuid.UUID(answer.json()[name])
