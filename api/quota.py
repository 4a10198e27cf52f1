"""How many requests a tenant may make: a bucket for each, that fills up again steadily.

Told to clients in the fields of the IETF draft "RateLimit header fields for HTTP". Each process counts for itself.
"""

import math
import time
from collections.abc import Callable
from typing import Final

from api.problems import QuotaExceeded

WINDOW_SECONDS: Final = 60
POLICY: Final = "tenant"
MOST_REMEMBERED: Final = 10_000
"""Tenants above which those whose bucket is full are forgotten: a new bucket is full as well."""

Header = tuple[bytes, bytes]


class Quotas:
    """Knows when each tenant's bucket will be full again, which says all about it (the cell rate algorithm)."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Let each tenant make `per_minute` requests a minute, all of them at once if it likes."""
        self._clock = clock
        self._each = WINDOW_SECONDS / per_minute
        self._full_at: dict[str, float] = {}
        self._policy = (b"ratelimit-policy", b'"%s";q=%d;w=%d' % (POLICY.encode(), per_minute, WINDOW_SECONDS))

    def take(self, tenant: str) -> list[Header]:
        """Count one request and return what the tenant should know. Raises `QuotaExceeded`, which says it too."""
        now = self._clock()
        full_at = max(self._full_at.get(tenant, now), now)
        empty = full_at + self._each - now - WINDOW_SECONDS
        if empty > 1e-9:  # noqa: PLR2004 - less than a rounding error is nothing
            raise QuotaExceeded(math.ceil(empty), self._told(full_at - now))
        if len(self._full_at) >= MOST_REMEMBERED:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        self._full_at[tenant] = full_at + self._each
        return self._told(full_at + self._each - now)

    def _told(self, seconds: float) -> list[Header]:
        left = int((WINDOW_SECONDS - seconds) / self._each + 1e-6)
        state = b'"%s";r=%d;t=%d' % (POLICY.encode(), max(0, left), math.ceil(seconds))
        return [self._policy, (b"ratelimit", state)]
