"""What a request meets that comes when many others do, and what is made of it."""

from collections.abc import Callable
from dataclasses import dataclass

from jobs.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Crowd:
    """What a request would meet if it were let in now."""

    lag: float = 0.0
    """Seconds by which the event loop is late."""
    turn: float = 0.0
    """Seconds until the request would be begun, besides."""
    coming: int = 0
    """Requests of its kind that were let in before it and are not begun yet."""


Verdict = Callable[[Crowd], type[Unavailable] | None]
"""Why a request should not be let in, or None."""
