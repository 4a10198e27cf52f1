"""An engine that tests of several modules share lives through what one of them does to PostgreSQL."""

from sqlalchemy import Engine, text

from tests.services.databases import lasting

ALL_OF = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :name AND pid = ANY(:pids)"


def test_an_engine_that_lasts_connects_anew_when_all_its_connections_are_lost(
    engine: Engine, database_url: str
) -> None:
    opened = lasting(database_url, pool_size=2)
    with opened.connect() as one, opened.connect() as other:
        pids = [connection.scalar(text("SELECT pg_backend_pid()")) for connection in (one, other)]

    with engine.connect() as connection:
        ended = connection.scalar(text(ALL_OF), {"name": opened.url.database, "pids": pids})
    with opened.connect() as one, opened.connect() as other:
        anew = [connection.scalar(text("SELECT pg_backend_pid()")) for connection in (one, other)]
    opened.dispose()

    assert ended == 2
    assert not {*anew} & {*pids}
