"""Who is asking: API keys as bearer tokens (RFC 6750)."""

import hashlib
import time
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


class Doorman:
    """Knows the keys that were genuine a moment ago; asks PostgreSQL about all others."""

    def __init__(self, engine: Engine, line: Line) -> None:
        """Ask with `engine`, after standing in `line`."""
        self._engine = engine
        self._line = line
        self._known: dict[bytes, tuple[float, Principal]] = {}

    async def admit(self, key: str) -> Principal:
        """Return whose key this is. Raises `Unauthorized`, `DatabaseUnavailable`."""
        # Remembered by digest: how long the look-up takes tells nothing about any stored key.
        digest = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        found = self._known.get(digest)
        now = time.monotonic()
        if found is not None and found[0] > now:
            return found[1]
        if keys.parse(key) is None:
            raise Unauthorized
        principal = await in_time(self._line, partial(self._look_up, key))
        if principal is None:
            self._known.pop(digest, None)
            raise Unauthorized
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[digest] = (now + REMEMBERED_FOR, principal)
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
