"""Who is asking: API keys as bearer tokens (RFC 6750)."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine

from api.line import Line
from api.patience import in_time
from api.problems import Unauthorized
from api.quota import Quotas
from api.reads import look
from jobs import keys
from jobs.keys import Principal
from jobs.telemetry import logs

REMEMBERED_FOR: Final = 5.0
"""Seconds for which a key is not looked up again: how long a revoked key may still work."""
MOST_REMEMBERED: Final = 10_000

bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer pns_...`")


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose a key was when it was looked up."""

    principal: Principal
    stale_at: float
    """When it should be looked up anew; until `gone_at` nobody has to wait for that."""
    gone_at: float


class Doorman:
    """Knows the keys that were genuine a moment ago; asks PostgreSQL about all others, once for all who ask at a time.

    A key in use is looked up ahead of time: else all requests of its tenant would stand still every few seconds.
    """

    def __init__(self, engine: Engine, line: Line, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask with `engine`, after standing in `line`."""
        self._engine = engine
        self._line = line
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._asked: dict[bytes, asyncio.Task[Principal | Exception]] = {}

    async def admit(self, key: str) -> Principal:
        """Return whose key this is. Raises `Unauthorized`, `DatabaseUnavailable`."""
        # Remembered by digest: how long the look-up takes tells nothing about any stored key.
        digest = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        found = self._known.get(digest)
        now = self._clock()
        if found is not None and now < found.gone_at:
            if now >= found.stale_at:
                self._ask(digest, key)
            return found.principal
        if keys.parse(key) is None:
            raise Unauthorized
        answer = await asyncio.shield(self._ask(digest, key))  # others wait for it too
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)  # each who raises it would make it longer
        return answer

    def _ask(self, digest: bytes, key: str) -> "asyncio.Task[Principal | Exception]":
        task = self._asked.get(digest)
        if task is None:
            task = self._asked[digest] = asyncio.create_task(self._find(digest, key))
        return task

    async def _find(self, digest: bytes, key: str) -> Principal | Exception:
        """Return whose key it is, or what should be raised: there may be nobody who waits to hear it."""
        now = self._clock()
        try:
            principal = await in_time(self._line, partial(self._look_up, key))
        except Exception as error:  # noqa: BLE001 - it is raised by whoever asked
            return error
        finally:
            del self._asked[digest]
        if principal is None:
            self._known.pop(digest, None)
            return Unauthorized()
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[digest] = _Known(principal, now + REMEMBERED_FOR / 2, now + REMEMBERED_FOR)
        return principal

    def _look_up(self, key: str) -> Principal | None:
        return look(self._engine, lambda connection: keys.authenticate(connection, key))


async def require_key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    """Return whose key the request carries. Raises `Unauthorized`."""
    if credentials is None:
        raise Unauthorized
    return await _admit(request, credentials.credentials)


async def caller_of(request: Request) -> Principal:
    """Return whose key the request carries, as `require_key` does, without FastAPI's machinery."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Unauthorized
    return await _admit(request, key)


async def _admit(request: Request, key: str) -> Principal:
    doorman: Doorman = request.app.state.doorman
    quotas: Quotas | None = request.app.state.quotas
    principal = await doorman.admit(key)
    logs.tell_tenant(principal.tenant)
    if quotas is not None:
        request.scope["ratelimit"] = quotas.take(principal.tenant)
    return principal


Caller = Annotated[Principal, Depends(require_key)]
