"""The keeper's thread lives until it is closed, whatever the clock does between two of its looks."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from jobs.model import new_job_id
from jobs.telemetry.metrics import Instruments
from tasks.catalogue import Catalogue
from tasks.messages import Ring
from worker.admission import Doorbell
from worker.keeper import Keeper


class Writes:
    """Begins nothing, and counts how often it was asked to."""

    is_unsure = False

    def __init__(self) -> None:
        self.asked = 0

    def begin(self, _ids: Any, _held: Any) -> list[Any]:
        self.asked += 1
        return []


def test_a_slot_that_gets_stuck_between_two_looks_does_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = Writes()
    ledger: Any = writes
    instruments = Instruments(CollectorRegistry())
    keeper = Keeper(worker="w", ledger=ledger, slots=1, catalogue=Catalogue([]), instruments=instruments)
    answers = iter([False, True])
    monkeypatch.setattr(
        keeper._admission, "may_take", lambda _busy, *, stuck: bool(len(keeper._admission)) and not stuck
    )
    monkeypatch.setattr(keeper, "_stuck", lambda: next(answers, False))
    keeper.start()

    keeper.offer(Ring("demo.noop", (new_job_id(),)), Doorbell(lambda: None, lambda: None, 1))
    keeper.offer(Ring("demo.noop", (new_job_id(),)), Doorbell(lambda: None, lambda: None, 1))

    assert keeper.is_alive
    keeper.close()
    assert not keeper.is_alive
