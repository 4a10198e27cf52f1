"""A client that takes no answer for none: it asks the other API, with the same key, until it knows.

Every try of every request goes into the ledger with what came of it.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import httpx

from tests.chaos.ledger import Call, Ledger, Operation, Status, Submission, Wanted, fingerprint

TIMEOUT: Final = httpx.Timeout(5.0, connect=2.0)
PAUSES: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds between two tries; the last is repeated."""
MOST_PAUSE: Final = 2.0
TOO_MANY: Final = 429


@dataclass(eq=False, slots=True)
class Flight:
    """A request that is under way."""

    jobs: int
    api: str = ""
    """That it was last sent to."""
    answered_at: datetime | None = None
    """When its client knew what became of it."""


class Client:
    """Speaks to all APIs in the name of one key. For one event loop."""

    def __init__(self, urls: Mapping[str, str], key: str, ledger: Ledger) -> None:
        """Connect at the first request."""
        headers = {"Authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        self._apis = {
            name: httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, timeout=TIMEOUT, limits=limits)
            for name, url in urls.items()
        }
        self._names = tuple(urls)
        self._ledger = ledger
        self._run = uuid.uuid4().hex[:8]
        self._tries = 0
        self.over = asyncio.Event()
        """Set when nobody waits for answers any more."""
        self.flights: dict[int, Flight] = {}
        self.answers: Counter[str] = Counter()
        """By status and problem, or by what broke."""
        self.oddities: list[str] = []
        """Answers that no client should ever get."""

    async def close(self) -> None:
        """Hang up."""
        for api in self._apis.values():
            await api.aclose()

    async def submit(self, wanted: Sequence[Wanted], *, batch: bool) -> tuple[UUID, ...]:
        """Hand in these jobs and return their ids once they are acknowledged; none when they were refused."""
        body = {"jobs": [_body(one) for one in wanted]} if batch else _body(wanted[0])
        path = "/jobs/batch" if batch else "/jobs"
        key, print_ = uuid.uuid4().hex, fingerprint([path, body])
        flight = Flight(len(wanted))
        self.flights[id(flight)] = flight
        try:
            for number in range(1, 1_000_000):
                request_id = f"chaos-{self._run}-{key[:12]}-{number}"
                sent_at = datetime.now(UTC)
                headers = {"Idempotency-Key": key, "X-Request-ID": request_id}
                answer = await self._send(flight, "POST", path, body, headers)
                code = answer.status_code if answer is not None else None
                status = Status.of(code)
                entry = Submission(
                    status=status,
                    sent_at=sent_at,
                    answered_at=datetime.now(UTC) if answer is not None else None,
                    code=code,
                    key=key,
                    fingerprint=print_,
                    request_id=request_id,
                    try_number=number,
                    job_ids=_ids(answer) if status is Status.ACKNOWLEDGED else (),
                    replayed=answer is not None and answer.headers.get("Idempotency-Replayed") == "true",
                    jobs=tuple(wanted),
                )
                self._ledger.write(entry)
                if status is not Status.UNKNOWN and code != TOO_MANY:
                    return entry.job_ids
                if await self._gives_up(number, answer):
                    break
        finally:
            flight.answered_at = datetime.now(UTC)
            del self.flights[id(flight)]
        return ()

    async def ask(self, job_id: UUID) -> str | None:
        """Return the state of a job; None: nobody told."""
        answer = await self._send(Flight(1), "GET", f"/jobs/{job_id}")
        return answer.json().get("state") if answer is not None and answer.status_code == httpx.codes.OK else None

    async def operate(self, call: Call, job_id: UUID) -> None:
        """Have an operator's call carried out, and keep what was said to it."""
        path, method, headers = f"/jobs/{job_id}/{call}", "POST", {}
        if call is Call.DISCARD:
            path, method = f"/dead-letters/{job_id}", "DELETE"
        if call is Call.REPLAY:
            path, headers = f"/dead-letters/{job_id}/replay", {"Idempotency-Key": uuid.uuid4().hex}
        for number in range(1, 1_000_000):
            sent_at = datetime.now(UTC)
            answer = await self._send(Flight(1), method, path, None, headers)
            code = answer.status_code if answer is not None else None
            status = Status.of(code)
            told = _json(answer) if status is Status.ACKNOWLEDGED else {}
            self._ledger.write(
                Operation(
                    call=call,
                    status=status,
                    sent_at=sent_at,
                    answered_at=datetime.now(UTC) if answer is not None else None,
                    code=code,
                    job_id=job_id,
                    state=told.get("state"),
                    new_job_id=UUID(told["id"]) if call is Call.REPLAY and "id" in told else None,
                )
            )
            if (status is not Status.UNKNOWN and code != TOO_MANY) or await self._gives_up(number, answer):
                return

    async def _send(
        self,
        flight: Flight,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response | None:
        """Return the answer of the API whose turn it is; None: there was none."""
        self._tries += 1
        flight.api = self._names[self._tries % len(self._names)]
        try:
            answer = await self._apis[flight.api].request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            self.answers[type(error).__name__] += 1
            return None
        self.answers[_named(answer)] += 1
        if answer.status_code in _NEVER and not _came_late(answer, body):
            self.oddities.append(f"{method} {path.partition('?')[0]}: {answer.status_code} {answer.text[:500]}")
        return answer

    async def _gives_up(self, number: int, answer: httpx.Response | None) -> bool:
        """Wait for the next try; tell whether nobody waits for it any more."""
        pause = PAUSES[min(number, len(PAUSES)) - 1]
        if answer is not None and "Retry-After" in answer.headers:
            pause = min(float(answer.headers["Retry-After"]), MOST_PAUSE)
        try:
            await asyncio.wait_for(self.over.wait(), pause)
        except TimeoutError:
            return False
        return True


_NEVER: Final = frozenset({400, 401, 403, 405, 413, 415, 422, 500, 501, 502})
"""Statuses that a client who asks for what exists must not see, whatever is broken. 404 and 409 it may: it races."""


def _named(answer: httpx.Response) -> str:
    """Return the status of an answer, and the name of its problem when it is one."""
    if "problem+json" not in answer.headers.get("content-type", ""):
        return str(answer.status_code)
    return f"{answer.status_code} {answer.json()['type'].rpartition('/')[2]}"


def _came_late(answer: httpx.Response, body: Any) -> bool:
    """Tell whether a job was refused because the time that it was asked for is over: a try may come so late."""
    is_refused = answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and "/invalid-job" in answer.text
    return is_refused and any("expires_at" in one for one in body.get("jobs", [body]))


def _body(wanted: Wanted) -> dict[str, Any]:
    values = {name: getattr(wanted, name) for name in Wanted.__slots__}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }


def _ids(answer: httpx.Response | None) -> tuple[UUID, ...]:
    told = _json(answer)
    return tuple(UUID(one) for one in (told["ids"] if "ids" in told else [told["id"]]))


def _json(answer: httpx.Response | None) -> dict[str, Any]:
    return dict(answer.json()) if answer is not None and answer.content else {}
