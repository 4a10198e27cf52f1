"""Check-ins with Sentry's cron monitors: each schedule is one, made and kept by its own check-ins.

It says that the schedule made its job in time, not how that job ended: that is reported as an error by the worker.
Imported only where reports are on.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

from sentry_sdk.crons import capture_checkin

from jobs.model import DEFAULT_TENANT
from jobs.planning.model import Definition
from jobs.planning.orders import Told
from jobs.planning.words import Decision, Why

LONGEST_SLUG: Final = 50
MARGIN_MINUTES: Final = 2
"""How much later than planned a check-in may come before the monitor calls it missed."""
_PLAIN: Final = re.compile(r"[0-9*/,-]+( [0-9*/,-]+){4}")
"""Cron as Sentry reads it: five fields, no seconds, no L and #."""
_MINUTE: Final = 60


def check_in(told: Sequence[Told]) -> None:
    """Say of each schedule whether it made its job; what has no rhythm, or a quicker one than minutes, says nothing."""
    for one in told:
        config = _config(one.schedule.definition)
        occurrence = one.occurrence
        if config is None or not (occurrence.decision is Decision.FIRED or occurrence.reason is Why.MISSED):
            continue
        status = "ok" if occurrence.decision is Decision.FIRED else "error"
        capture_checkin(
            monitor_slug=slug_of(one.schedule.tenant, one.schedule.name), status=status, monitor_config=config
        )


def slug_of(tenant: str, name: str) -> str:
    """Return the monitor's name: the schedule's own where that can be, else one that is like it and as unique."""
    whole = name if tenant == DEFAULT_TENANT else f"{tenant}/{name}"
    short = re.sub(r"[^a-z0-9_-]", "-", whole.lower())
    if short == whole and len(short) <= LONGEST_SLUG:
        return short
    mark = hashlib.blake2b(whole.encode(), digest_size=4).hexdigest()
    return f"{short[: LONGEST_SLUG - len(mark) - 1]}-{mark}"


def _config(timing: Definition) -> Any:
    """Return what Sentry has to know to miss a check-in; None: it cannot say such a timing."""
    if timing.cron is not None and _PLAIN.fullmatch(timing.cron):
        rhythm: dict[str, Any] = {"type": "crontab", "value": timing.cron}
    elif timing.every_seconds and timing.every_seconds % _MINUTE == 0:
        rhythm = {"type": "interval", "value": int(timing.every_seconds // _MINUTE), "unit": "minute"}
    else:
        return None
    margin = MARGIN_MINUTES + int(timing.jitter_seconds // _MINUTE)
    return {"schedule": rhythm, "timezone": timing.zone, "checkin_margin": margin}
