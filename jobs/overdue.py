"""What upkeep should have moved by now: jobs whose time has come, and attempts whose lease ran out."""

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, TextClause, text

from jobs.state import JobState
from jobs.tables import DUE, LEASED

LOOKED_AT: Final = 1000
"""Jobs that are looked at of those that are due, and of those whose lease ran out: the longest first."""
STATES: Final = (JobState.SCHEDULED, JobState.RETRYING, JobState.RUNNING)

# The indexes are searched by an instant that does not change while the statement runs.
OVERDUE: Final[TextClause] = text(f"""
WITH late AS (
    (SELECT state, run_at AS since FROM jobs
     WHERE {DUE} AND run_at <= statement_timestamp() ORDER BY run_at LIMIT {LOOKED_AT})
    UNION ALL
    (SELECT state, lease_expires_at FROM jobs
     WHERE {LEASED} AND lease_expires_at < statement_timestamp() ORDER BY lease_expires_at LIMIT {LOOKED_AT})
)
SELECT state, count(*), greatest(extract(epoch FROM clock_timestamp() - min(since)), 0) FROM late GROUP BY state
""")  # noqa: S608 - made of the constants above


class Overdue(NamedTuple):
    """The jobs of one state that upkeep should have moved."""

    jobs: int = 0
    """No further than `LOOKED_AT`."""
    seconds: float = 0.0
    """Since when the first of them should have been moved."""


def overdue(connection: Connection) -> dict[JobState, Overdue]:
    """Return for each of `STATES` what is overdue; running: attempts whose lease ran out."""
    rows: Any = connection.execute(OVERDUE)
    found = {JobState(state): Overdue(count, float(seconds)) for state, count, seconds in rows}
    return {state: found.get(state, Overdue()) for state in STATES}
