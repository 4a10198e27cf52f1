"""What the tables say when all is over."""

from typing import Any

import psycopg


class Facts:
    """Which jobs there are, what became of them, and whether an attempt or an event is missing or counted twice."""

    def __init__(self, database_url: str) -> None:
        """Read them."""
        with psycopg.connect(database_url) as connection:
            self.ids = {row[0] for row in connection.execute("SELECT id FROM jobs")}
            self.states = dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
            self.most_accepted_attempts = _one(
                connection,
                "SELECT max(accepted) FROM (SELECT count(*) FILTER (WHERE outcome = 'succeeded') AS accepted "
                "FROM attempts GROUP BY job_id) AS counts",
            )
            self.gaps_in_attempts = _one(
                connection,
                "SELECT count(*) FROM jobs JOIN (SELECT job_id, count(*) AS tries, max(number) AS last "
                "FROM attempts GROUP BY job_id) AS counts ON job_id = id WHERE last <> tries OR last <> attempt",
            )
            self.gaps_in_events = _one(
                connection,
                "SELECT count(*) FROM jobs JOIN (SELECT job_id, count(*) AS told, max(seq) AS last "
                "FROM events GROUP BY job_id) AS counts ON job_id = id WHERE last <> told OR last <> event_count",
            )


def _one(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query).fetchone()  # type: ignore[arg-type]  # psycopg wants literals; these are
    assert row is not None
    return int(row[0])
