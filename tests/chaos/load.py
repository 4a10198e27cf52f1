"""The load: requests of the mix at a steady rate, and what operators do to their jobs, from a thread of its own."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from jobs.state import FINAL, JobState
from tests.chaos.client import Client, Flight
from tests.chaos.ledger import Call, Ledger, Wanted
from tests.chaos.mix import Request, Then, pauses, requests

AT_ONCE: Final = 64
"""Requests under way; when all hang the load is held up, and goes on at its rate afterwards."""
HELD_UP: Final = 0.5
"""Seconds."""
OPERATOR_SECONDS: Final = 30.0
"""How long an operator waits for a job to become a dead letter."""
GIVE_UP_SECONDS: Final = 10.0
"""Longer than a request may go unanswered."""


class Load:
    """Submits until told to stop."""

    def __init__(self, urls: Mapping[str, str], key: str, ledger: Ledger, *, seed: int, rate: float) -> None:
        """Nothing is sent before `start`."""
        self._urls, self._key, self._ledger = urls, key, ledger
        self._requests = requests(seed, rate)
        self._pauses = pauses(seed)
        self._paused: list[tuple[str, datetime, datetime]] = []
        self._ready = threading.Event()
        self._enough = asyncio.Event()
        self._operators: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="load", daemon=True)
        self.submitted = 0
        """Jobs that were asked for."""
        self.acknowledged = 0
        self.operations: Counter[str] = Counter()

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._ready.wait()

    def flights(self, api: str | None = None) -> list[Flight]:
        """Return the requests that are under way, to `api` or to any."""
        return [flight for flight in list(self._client.flights.values()) if api in {None, flight.api}]

    def extra(self, wanted: Wanted) -> "Future[tuple[UUID, ...]]":
        """Hand in one more job, and return its id when it is acknowledged."""
        return asyncio.run_coroutine_threadsafe(self._hand_in([wanted], batch=False), self._loop)

    def stop(self) -> None:
        """Submit nothing new; what is under way goes on."""
        self._loop.call_soon_threadsafe(self._enough.set)

    def finish(self, seconds: float) -> bool:
        """Return when every request has been answered and every operator is done; False: some were given up."""
        self.stop()
        self._thread.join(seconds)
        willing = not self._thread.is_alive()
        if not willing:
            self.close()
        return willing

    def close(self) -> None:
        """Give up what is under way; nothing happens when it has ended, or never began."""
        if self._thread.is_alive():
            self.stop()
            self._loop.call_soon_threadsafe(self._client.over.set)
            self._thread.join(GIVE_UP_SECONDS)

    @property
    def answers(self) -> Counter[str]:
        """How often each answer was given."""
        return self._client.answers

    @property
    def oddities(self) -> list[str]:
        """Answers that no client should ever get."""
        return self._client.oddities

    def paused_seconds(self, queue: str, since: datetime, until: datetime) -> float:
        """Return for how long between these instants the queue may have been paused."""
        spans = [(max(since, begun), min(until, over)) for name, begun, over in self._paused if name == queue]
        return sum(max(0.0, (over - begun).total_seconds()) for begun, over in spans)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = Client(self._urls, self._key, self._ledger)
        self._ready.set()
        room = asyncio.Semaphore(AT_ONCE)
        under_way: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        self._hire(self._pause_queues(began))
        for request in self._requests:
            await self._until(began + request.at)
            if self._enough.is_set():
                break
            await room.acquire()
            late = time.monotonic() - (began + request.at)
            if late > HELD_UP:  # it is not caught up with: the rate stays what it is
                began += late
            task = asyncio.create_task(self._serve(request, room))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        await asyncio.gather(*self._operators)
        await self._client.close()

    async def _until(self, instant: float) -> None:
        """Return at `instant` of the monotonic clock, or when it is enough."""
        try:
            await asyncio.wait_for(self._enough.wait(), max(0.0, instant - time.monotonic()))
        except TimeoutError:
            return

    async def _serve(self, request: Request, room: asyncio.Semaphore) -> None:
        now = datetime.now(UTC)
        try:
            ids = await self._hand_in([wish.wanted(now) for wish in request.wishes], batch=request.batch)
        finally:
            room.release()
        for job_id, wish in zip(ids, request.wishes, strict=False):
            if wish.then is not None:
                self._hire(self._operate(job_id, wish.then))

    async def _hand_in(self, wanted: Sequence[Wanted], *, batch: bool) -> tuple[UUID, ...]:
        self.submitted += len(wanted)
        ids = await self._client.submit(wanted, batch=batch)
        self.acknowledged += len(ids)
        return ids

    def _hire(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._operators.add(task)
        task.add_done_callback(self._operators.discard)

    async def _operate(self, job_id: UUID, then: Then) -> None:
        await asyncio.sleep(then.after)
        if then.call is not Call.CANCEL and not await self._has_failed(job_id):
            return
        self.operations[then.call] += 1
        await self._client.operate(then.call, job_id)

    async def _pause_queues(self, began: float) -> None:
        """Pause a queue now and then, and have it go on, at the end of the load at the latest."""
        for pause in self._pauses:
            await self._until(began + pause.at)
            if self._enough.is_set():
                return
            since = datetime.now(UTC)
            for call, seconds in ((Call.PAUSE, pause.seconds), (Call.RESUME, 0.0)):
                self.operations[call] += 1
                await self._client.govern(call, pause.queue)
                await self._until(time.monotonic() + seconds)
            self._paused.append((pause.queue, since, datetime.now(UTC)))

    async def _has_failed(self, job_id: UUID) -> bool:
        """Wait until the job is in a final state, and tell whether it is a dead letter."""
        deadline = time.monotonic() + OPERATOR_SECONDS
        while time.monotonic() < deadline and not self._client.over.is_set():
            state = await self._client.ask(job_id)
            if state in FINAL:
                return state == JobState.FAILED
            await asyncio.sleep(0.5)
        return False
