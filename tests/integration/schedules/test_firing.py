"""Firing's clock: all that is due is fired, counted and slept for, and trouble ends nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from deploy.stack.ports import free_port
from jobs.planning import firing as rounds
from jobs.planning.words import CatchUp
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import Instruments, instruments_of
from schedules.firing import Firing
from schedules.pulse import Pulse
from schedules.ringing import Ringing
from schedules.settings import ScheduleSettings
from schedules.upkeep import Upkeep
from tasks.publisher import DoorbellPublisher
from tasks.settings import TaskSettings
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import change, decided, due, get, jobs_of, missed, put
from tests.services.databases import connect_to
from tests.services.proxy import Proxy
from tests.services.stack import eventually

BROKER_SECONDS = 10.0
"""Less than anybody waits for a broker that says nothing."""
SETTINGS = ScheduleSettings(missed_after_seconds=60, upkeep_seconds=0.5)


@pytest.fixture
def instruments() -> Instruments:
    return instruments_of(Process.BEAT)


@pytest.fixture
def firing(engine: Engine, instruments: Instruments) -> Firing:
    return Firing(engine=engine, settings=SETTINGS, instruments=instruments)


def counted(instruments: Instruments, name: str, **labels: str) -> float | None:
    return instruments.registry.get_sample_value(f"penstock_{name}", labels)


def test_all_that_is_due_is_fired_however_many_batches_that_takes(
    engine: Engine, firing: Firing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "INSTANTS", 2)
    for number in range(7):
        due(engine, name=f"s{number}")

    assert firing.round() == 7
    assert firing.round() == 0


def test_decisions_lateness_and_jobs_are_counted(engine: Engine, firing: Firing, instruments: Instruments) -> None:
    due(engine, name="a", seconds_ago=5)
    missed(engine, 3, name="b", catch_up=CatchUp.NONE)

    firing.round()

    assert counted(instruments, "occurrences_total", decision="fired", reason="on_time") == 1
    assert counted(instruments, "occurrences_total", decision="skipped", reason="missed") == 1
    assert counted(instruments, "schedule_lateness_seconds_count") == 1
    assert 5 <= (counted(instruments, "schedule_lateness_seconds_sum") or 0) < 60


def test_what_is_missed_is_as_the_setting_says(engine: Engine, instruments: Instruments) -> None:
    due(engine, seconds_ago=90, catch_up=CatchUp.NONE)

    Firing(engine=engine, settings=ScheduleSettings(missed_after_seconds=600), instruments=instruments).round()

    assert decided(engine) == [("fired", "late")]


def test_it_sleeps_until_the_next_one_is_due(engine: Engine, firing: Firing) -> None:
    assert firing.until_next_due() == float("inf")

    put(engine, every_seconds=3600, start_at=scenes.database_now(engine).replace(year=2100))
    assert firing.until_next_due() > 86_400

    put(engine, "soon", every_seconds=3600)
    change(engine, "UPDATE schedules SET next_at = now() + interval '30 s' WHERE name = 'soon'")
    assert 20 < firing.until_next_due() <= 30


def test_what_somebody_holds_is_tried_again_after_a_while_and_makes_no_other_late(
    engine: Engine, firing: Firing
) -> None:
    due(engine)
    with engine.connect() as holder:
        holder.execute(text("SELECT FROM schedules FOR UPDATE"))
        assert firing.round() == 0
        assert firing.until_next_due() == 0.5

        due(engine, name="other")
        change(engine, "UPDATE schedules SET next_at = clock_timestamp() WHERE name = 'other'")
        assert firing.until_next_due() < 0.1, "it came after the last look"
        assert firing.round() == 1
        assert firing.until_next_due() == 0.5

    assert firing.round() == 1
    assert firing.until_next_due() > 600


def test_new_zone_data_is_heeded_and_looked_for_once_a_minute(engine: Engine, instruments: Instruments) -> None:
    now = [1000.0]
    firing = Firing(engine=engine, settings=SETTINGS, instruments=instruments, clock=lambda: now[0])
    put(engine, cron="0 12 * * *", zone="Europe/Berlin")
    before = get(engine).next_at
    outdate = "UPDATE schedules SET zone_data = '2001a', next_at = next_at + interval '1 h'"

    change(engine, outdate)
    firing.round()
    assert get(engine).next_at == before

    firing.round()
    change(engine, outdate)
    firing.round()
    assert get(engine).next_at != before

    now[0] += 60
    firing.round()
    assert get(engine).next_at == before


def test_a_database_that_is_away_costs_a_second(instruments: Instruments) -> None:
    away = connect_to(f"postgresql://nobody:x@127.0.0.1:{free_port()}/none")
    firing = Firing(engine=away, settings=SETTINGS, instruments=instruments)

    assert firing.round() == 0
    assert firing.until_next_due() == 1.0
    away.dispose()


def test_what_nobody_foresaw_ends_no_beat(engine: Engine, firing: Firing) -> None:
    due(engine)
    change(engine, "ALTER TABLE occurrences RENAME TO elsewhere")
    assert firing.round() == 0
    assert firing.until_next_due() == 1.0

    change(engine, "ALTER TABLE elsewhere RENAME TO occurrences")

    assert firing.round() == 1
    assert get(engine).next_at is not None


def test_a_table_that_somebody_holds_ends_no_beat(database_url: str, engine: Engine, instruments: Instruments) -> None:
    hurried = connect_to(database_url, database_statement_timeout_seconds=0.3)
    firing = Firing(engine=hurried, settings=SETTINGS, instruments=instruments)
    due(engine)

    with engine.begin() as holder:
        holder.execute(text("LOCK TABLE schedules"))
        assert firing.round() == 0
        assert firing.until_next_due() == 1.0

    assert firing.round() == 1
    hurried.dispose()


@contextmanager
def pulse_on(engine: Engine, firing: Firing, instruments: Instruments, url: str) -> Iterator[Pulse]:
    tasks = TaskSettings(broker_url=SecretStr(url))
    shared: Any = {"engine": engine, "settings": SETTINGS, "instruments": instruments}
    publisher = DoorbellPublisher(url, tasks.queues)
    ringing = Ringing(publisher=publisher, queues=tasks.queues, window=1000, **shared)
    upkeep = Upkeep(ringing=ringing, **shared)
    pulse = Pulse(engine=engine, firing=firing, upkeep=upkeep, tasks=tasks, longest_pause=0.5)
    yield pulse
    eventually(pulse.close, 30, "upkeep has come to its end")
    publisher.close()


@pytest.fixture
def pulse(engine: Engine, firing: Firing, instruments: Instruments, broker_url: str) -> Iterator[Pulse]:
    with pulse_on(engine, firing, instruments, broker_url) as made:
        yield made


def test_a_beat_makes_the_job_and_rings_for_it(engine: Engine, pulse: Pulse) -> None:
    due(engine)

    pause = pulse.beat()

    (job_id,) = jobs_of(engine)
    eventually(lambda: scenes.row(engine, job_id)["rung_at"], 20, "its doorbell is rung")
    assert 0 < pause <= 0.5


def test_a_beat_comes_when_the_next_schedule_is_due(engine: Engine, pulse: Pulse) -> None:
    put(engine, every_seconds=3600)
    pulse.beat()
    change(engine, "UPDATE schedules SET next_at = now() + interval '0.2 s'")

    assert 0 < pulse.beat() <= 0.2


def test_a_frozen_broker_makes_no_schedule_late(
    engine: Engine, firing: Firing, instruments: Instruments, broker_url: str
) -> None:
    server = urlsplit(broker_url)
    with (
        Proxy(str(server.hostname), int(server.port or 0)) as proxy,
        pulse_on(engine, firing, instruments, proxy.through(broker_url)) as pulse,
    ):
        proxy.swallow()
        due(engine)
        pulse.beat()
        due(engine, name="next")
        began = time.monotonic()

        pulse.beat()

        assert time.monotonic() - began < BROKER_SECONDS
        assert decided(engine, "next") == [("fired", "on_time")]
        proxy.refuse()
