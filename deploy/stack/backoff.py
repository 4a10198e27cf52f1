"""When a process that died is started again."""

from collections.abc import Sequence

FIRST_SECONDS = 0.2
LARGEST_SECONDS = 15.0
MEMORY_SECONDS = 60.0
PATIENCE = 4


def restart_delay(deaths: Sequence[float], now: float) -> float:
    """Return how many seconds to wait after the last of `deaths` (instants of one clock): doubled for each recent."""
    recent = recent_deaths(deaths, now)
    return min(LARGEST_SECONDS, FIRST_SECONDS * 2.0 ** max(0, recent - 1))


def keeps_dying(deaths: Sequence[float], now: float) -> bool:
    """Say whether it died so often within a minute that a person should see its log."""
    return recent_deaths(deaths, now) >= PATIENCE


def recent_deaths(deaths: Sequence[float], now: float) -> int:
    """Count the deaths of the last minute."""
    return sum(1 for death in deaths if now - death <= MEMORY_SECONDS)
