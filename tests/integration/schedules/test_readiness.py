"""Whether beat is ready: each thing that it needs is named, goes away, and comes back, while it lives all the time."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, make_url, text

from deploy.stack.ports import LOOPBACK, free_port
from jobs.database import transaction
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
from schedules.readiness import Readiness
from schedules.ringing import Ringing
from schedules.settings import ScheduleSettings
from schedules.upkeep import Upkeep
from tasks.publisher import DoorbellPublisher
from tests.clock import Clock
from tests.services import plain
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.proxy import Proxy
from tests.services.stack import eventually

SECONDS = 60.0
ALL = {"postgresql": True, "broker": True, "upkeep": True, "firing": True, "accepting": True}
BOUNDS = {"PENSTOCK_DATABASE_STATEMENT_TIMEOUT_SECONDS": "2", "PENSTOCK_DATABASE_ANSWER_SECONDS": "1"}


@dataclass
class Scene:
    """A beat, and what stands between it and its servers."""

    beat: LocalProcess
    postgresql: Proxy
    broker: Proxy
    port: int

    def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of an answer; (0, nothing): there is none."""
        try:
            answer = plain.get(f"http://{LOOPBACK}:{self.port}{path}", timeout=10, trust_env=False)
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json()

    def says(self, **expected: bool) -> bool:
        """Tell whether it says these of what it needs, and is ready where all of it is there."""
        status, body = self.ask("/ready")
        found = body.get("dependencies", {})
        assert not found or status == (200 if all(found.values()) else 503)
        return bool(found) and expected.items() <= found.items()


@contextmanager
def beating(database_url: str, broker_url: str, home: Path) -> Iterator[Scene]:
    database, queue = make_url(database_url), make_url(broker_url)
    with (
        Proxy(str(database.host), int(database.port or 5432)) as to_database,
        Proxy(str(queue.host), int(queue.port or 5672)) as to_broker,
    ):
        own = {
            "DATABASE_URL": to_database.through(database_url),
            "BROKER_URL": to_broker.through(broker_url),
            "PENSTOCK_BEAT_METRICS_PORT": free_port(),
            "PENSTOCK_UPKEEP_SECONDS": 0.1,
        }
        beat = LocalProcess(
            "beat",
            ["schedules"],
            environment=surroundings(**own, **BOUNDS),
            log=home / "beat.log",
            prompt="Starting...",
        )
        beat.start()
        try:
            beat.ready()
            yield Scene(beat, to_database, to_broker, int(own["PENSTOCK_BEAT_METRICS_PORT"]))
        finally:
            for proxy in (to_database, to_broker):
                proxy.heal()
            beat.teardown()


@pytest.fixture
def scene(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Scene]:
    with beating(database_url, broker_url, tmp_path) as made:
        eventually(lambda: made.says(**ALL), SECONDS, "it is ready")
        yield made


@pytest.mark.parametrize("name", ["postgresql", "broker"])
def test_a_beat_without_one_of_its_servers_lives_and_is_not_ready_until_it_is_back(scene: Scene, name: str) -> None:
    proxy: Proxy = getattr(scene, name)

    proxy.refuse()
    eventually(lambda: scene.says(**{name: False}), SECONDS, "it is missed")
    assert scene.ask("/health") == (200, {"status": "alive"})

    proxy.heal()
    eventually(lambda: scene.says(**ALL), SECONDS, "it is back")


def test_a_beat_that_is_told_to_end_is_not_ready_while_it_ends(scene: Scene) -> None:
    scene.postgresql.swallow()
    eventually(lambda: scene.postgresql.met.connections > 0, SECONDS, "a round waits for an answer")

    scene.beat.kill(signal.SIGTERM)

    eventually(lambda: scene.says(accepting=False), 10, "it says that it leaves")


def rename(engine: Engine, table: str, before: str, after: str) -> None:
    with transaction(engine) as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME COLUMN {before} TO {after}"))


def test_upkeep_of_which_a_step_fails_each_time_is_not_well_until_a_whole_round_is(
    engine: Engine, broker_url: str
) -> None:
    clock, publisher = Clock(), DoorbellPublisher(broker_url, ["default"])
    readiness = Readiness(stale_after=30, clock=clock)
    shared: Any = {"engine": engine, "settings": ScheduleSettings(), "instruments": instruments_of(Process.BEAT)}
    shared |= {"clock": clock, "readiness": readiness}
    upkeep = Upkeep(ringing=Ringing(publisher=publisher, queues=["default"], window=10, **shared), **shared)

    def rounds_of(seconds: int) -> bool:
        for _ in range(seconds):
            clock.now += 1
            upkeep.round()
        return readiness.look()["upkeep"]

    assert not readiness.look()["upkeep"], "nobody has done a round"
    assert rounds_of(10)

    rename(engine, "idempotency_keys", "expires_at", "ends_at")
    clock.now += 60
    assert not rounds_of(40)
    assert readiness.look()["postgresql"], "it answers all the time"

    rename(engine, "idempotency_keys", "ends_at", "expires_at")
    assert rounds_of(10)
    publisher.close()
