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

from tests.chaos.ledger import (
    PATIENCE,
    Call,
    Ledger,
    Operation,
    Status,
    Submission,
    Wanted,
    fingerprint,
    is_documented,
)

TIMEOUT: Final = httpx.Timeout(5.0, connect=2.0)
PAUSES: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds between two tries; the last is repeated."""
MOST_PAUSE: Final = 2.0


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
                told = told_by(answer)
                status = told["status"]
                entry = Submission(
                    **told,
                    sent_at=sent_at,
                    key=key,
                    fingerprint=print_,
                    request_id=request_id,
                    try_number=number,
                    job_ids=_ids(answer) if status is Status.ACKNOWLEDGED else (),
                    replayed=answer is not None and answer.headers.get("Idempotency-Replayed") == "true",
                    jobs=tuple(wanted),
                )
                self._ledger.write(entry)
                if not asks_again(entry):
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
        """Have an operator's call carried out, and keep what was said to each try of it.

        Only a replay has a key. Any other call whose outcome is not known is made again all the same, as a person
        would: it may then be done twice, or refused because the first try had done it.
        """
        path, method, key = f"/jobs/{job_id}/{call}", "POST", None
        if call is Call.DISCARD:
            path, method = f"/dead-letters/{job_id}", "DELETE"
        if call is Call.REPLAY:
            path, key = f"/dead-letters/{job_id}/replay", uuid.uuid4().hex
        await self._carry_out(call, method, path, key, job_id=job_id)

    async def govern(self, call: Call, queue: str) -> None:
        """Pause a queue, or have it go on, and keep what was said to each try of it."""
        await self._carry_out(call, "POST", f"/queues/{queue}/{call}", queue=queue)

    async def _carry_out(self, call: Call, method: str, path: str, key: str | None = None, **about: Any) -> None:
        headers = {"Idempotency-Key": key} if key else {}
        for number in range(1, 1_000_000):
            sent_at = datetime.now(UTC)
            answer = await self._send(Flight(1), method, path, None, headers)
            told = told_by(answer)
            said = _json(answer) if told["status"] is Status.ACKNOWLEDGED else {}
            entry = Operation(
                **told | about,
                call=call,
                sent_at=sent_at,
                key=key,
                state=said.get("state"),
                new_job_id=UUID(said["id"]) if call is Call.REPLAY and "id" in said else None,
            )
            self._ledger.write(entry)
            if not asks_again(entry) or await self._gives_up(number, answer):
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
        if _is_odd(answer) and not _came_late(answer, body):
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


_NEVER: Final = frozenset({400, 401, 403, 405, 413, 415, 422})
"""Refusals that a client who asks for what exists must not see, whatever is broken. 404 and 409 it may: it races."""


def _is_odd(answer: httpx.Response) -> bool:
    """Tell whether a client who asks for what exists should never get such an answer."""
    says_when = "Retry-After" in answer.headers
    return answer.status_code in _NEVER or not is_documented(answer.status_code, _problem(answer), says_when=says_when)


def told_by(answer: httpx.Response | None) -> dict[str, Any]:
    """Return what a client knows after this answer, for the ledger."""
    if answer is None:
        return {"status": Status.UNKNOWN}
    problem = _problem(answer)
    return {
        "status": Status.of(answer.status_code, problem),
        "answered_at": datetime.now(UTC),
        "code": answer.status_code,
        "problem": problem,
        "says_when": "Retry-After" in answer.headers,
    }


def asks_again(entry: Submission | Operation) -> bool:
    """Tell whether the client makes another try."""
    return entry.status is Status.UNKNOWN or entry.code in PATIENCE


def _problem(answer: httpx.Response) -> str | None:
    """Return the name of the problem that an answer is; None: it is none."""
    if "problem+json" not in answer.headers.get("content-type", ""):
        return None
    return str(answer.json()["type"]).rpartition("/")[2]


def _named(answer: httpx.Response) -> str:
    """Return the status of an answer, and the name of its problem when it is one."""
    return " ".join(filter(None, (str(answer.status_code), _problem(answer))))


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
