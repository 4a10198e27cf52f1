"""The load of a drill: requests of the mix at a steady rate from a thread of its own, until everything is lost."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from tests.chaos.client import Client
from tests.chaos.ledger import Call, Ledger, Wanted
from tests.chaos.mix import Request, requests

AT_ONCE: Final = 64
GIVE_UP_SECONDS: Final = 20.0
LONGEST: Final = 10.0
"""Seconds that a job may take: one that ends only when it is cancelled would have lost its cancel with the rest."""


class Load:
    """Submits until everything is lost."""

    def __init__(self, urls: Mapping[str, str], key: str, ledger: Ledger, *, seed: int, rate: float) -> None:
        """Nothing is sent before `start`."""
        self._urls, self._key, self._ledger = urls, key, ledger
        self._requests = bounded(requests(seed, rate))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="load", daemon=True)
        self._acted: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._ready.wait()

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return len(self._client.flights)

    def extra(self, wanted: Wanted) -> "Future[tuple[UUID, ...]]":
        """Hand in one more job, and return its id when it is acknowledged."""
        return asyncio.run_coroutine_threadsafe(self._client.submit([wanted], batch=False), self._loop)

    def close(self) -> None:
        """Send nothing more, and give up what has no answer."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._client.over.set)
            self._thread.join(GIVE_UP_SECONDS)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = Client(self._urls, self._key, self._ledger)
        self._ready.set()
        room, began = asyncio.Semaphore(AT_ONCE), time.monotonic()
        for request in self._requests:
            try:
                await asyncio.wait_for(self._client.over.wait(), max(0.0, began + request.at - time.monotonic()))
            except TimeoutError:
                await room.acquire()
                self._hire(request, room)
            else:
                break
        await asyncio.gather(*self._acted, return_exceptions=True)
        await self._client.close()

    def _hire(self, request: Request, room: asyncio.Semaphore) -> None:
        task = asyncio.create_task(self._serve(request, room))
        self._acted.add(task)
        task.add_done_callback(self._acted.discard)

    async def _serve(self, request: Request, room: asyncio.Semaphore) -> None:
        now = datetime.now(UTC)
        try:
            ids = await self._client.submit([wish.wanted(now) for wish in request.wishes], batch=request.batch)
        finally:
            room.release()
        for job_id, wish in zip(ids, request.wishes, strict=False):
            if wish.then is not None and wish.then.call is Call.CANCEL and not self._client.over.is_set():
                await self._client.operate(Call.CANCEL, job_id)


def bounded(stream: Iterator[Request]) -> Iterator[Request]:
    """Pass on the requests whose jobs all end by themselves."""
    return (one for one in stream if all(wish.payload.get("seconds", 0) <= LONGEST for wish in one.wishes))
