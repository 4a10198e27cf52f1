"""Which workers are alive."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, RowMapping, func, select, update

from jobs import registry
from jobs.database import transaction
from jobs.tables import workers


def announce(engine: Engine, name: str = "worker-1", **changes: Any) -> None:
    facts: dict[str, Any] = {"host": "h", "pid": 7, "queues": ["a", "b"], "slots": 4, "release": "1.0"}
    with transaction(engine) as connection:
        registry.announce(connection, name=name, **facts | changes)


def alive(engine: Engine) -> int:
    with engine.connect() as connection:
        return registry.count_alive(connection)


def found(engine: Engine, name: str = "worker-1") -> RowMapping:
    with engine.connect() as connection:
        return connection.execute(select(workers).where(workers.c.name == name)).mappings().one()


def test_a_worker_enters_with_its_facts(engine: Engine) -> None:
    announce(engine)
    row = found(engine)

    assert (row["host"], row["pid"], row["queues"], row["slots"], row["release"]) == ("h", 7, ["a", "b"], 4, "1.0")
    assert (row["running"], row["stopped_at"]) == (0, None)
    assert row["started_at"] is not None
    assert alive(engine) == 1


def test_a_worker_that_comes_back_enters_anew(engine: Engine) -> None:
    announce(engine)
    with transaction(engine) as connection:
        registry.beat(connection, "worker-1", running=3)
        registry.leave(connection, "worker-1")
    before = found(engine)
    announce(engine, pid=8)
    row = found(engine)

    assert (row["pid"], row["running"], row["stopped_at"]) == (8, 0, None)
    assert row["started_at"] > before["started_at"]
    assert alive(engine) == 1


def test_a_beat_tells_that_it_lives_and_what_it_does(engine: Engine) -> None:
    announce(engine)
    announce(engine, "worker-2")
    before = found(engine)
    with transaction(engine) as connection:
        registry.beat(connection, "worker-1", running=3)

    assert found(engine)["running"] == 3
    assert found(engine)["seen_at"] > before["seen_at"]
    assert found(engine, "worker-2")["running"] == 0


def test_a_worker_that_left_or_was_not_seen_lately_is_not_counted(engine: Engine) -> None:
    for name in ("gone", "silent", "alive"):
        announce(engine, name)
    with transaction(engine) as connection:
        registry.leave(connection, "gone")
        silent = func.now() - registry.ALIVE_WITHIN - timedelta(seconds=1)
        connection.execute(update(workers).where(workers.c.name == "silent").values(seen_at=silent))

    assert alive(engine) == 1
    assert found(engine, "gone")["stopped_at"] is not None
