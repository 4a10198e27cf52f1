"""Upkeep as the tests want it: on any broker and database, by a clock that they set."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
from schedules.ringing import Ringing
from schedules.settings import ScheduleSettings
from schedules.upkeep import Upkeep
from tasks.publisher import DoorbellPublisher
from tests.clock import Clock
from tests.integration.schedules.rounds import QUEUES, WINDOW, Make


@pytest.fixture
def make(engine: Engine, clock: Clock) -> Iterator[Make]:
    """Makes upkeep; it is done with when the test is."""
    publishers: list[DoorbellPublisher] = []

    def at(url: str, database: Engine = engine) -> Upkeep:
        publishers.append(DoorbellPublisher(url, QUEUES))
        settings = ScheduleSettings(stranded_seconds=1, upkeep_seconds=0.5, keep_finished_days=1)
        shared: Any = {
            "engine": database,
            "settings": settings,
            "instruments": instruments_of(Process.BEAT),
            "clock": clock,
        }
        return Upkeep(
            ringing=Ringing(publisher=publishers[-1], queues=QUEUES, window=WINDOW, **shared),
            **shared,
        )

    yield at
    for publisher in publishers:
        publisher.close()
