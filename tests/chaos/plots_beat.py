"""Small histories of beat's own part: what it does when the broker is away, and what it deletes."""

from collections.abc import Sequence
from typing import Final, cast

from jobs.errors import BrokerUnavailable
from jobs.model import Doorbell, JobId
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
from schedules.ringing import Ringing
from schedules.settings import ScheduleSettings
from schedules.upkeep import Upkeep
from tasks.publisher import DoorbellPublisher
from tests.chaos.stage import Stage, plot
from tests.factories import QUEUE, retry

SETTINGS: Final = ScheduleSettings()
WINDOW: Final = 100


class Broker:
    """What beat has of a broker: it answers, and takes doorbells, or is gone when they are to be taken."""

    def __init__(self) -> None:
        """It is there, and empty."""
        self.is_away = False
        self.heard: list[JobId] = []
        self.unconfirmed = 0
        """None: it takes all, or is gone before anything is sent."""

    def ring(self, doorbells: Sequence[Doorbell]) -> None:
        """Take doorbells. Raises `BrokerUnavailable`."""
        if self.is_away:
            raise BrokerUnavailable
        self.heard += [bell.id for bell in doorbells]

    def depth(self, _queue: str) -> int:
        """Return how many doorbells wait; beat asks before it marks jobs, and is told that all is well."""
        return len(self.heard)


def _upkeep(stage: Stage, broker: Broker) -> Upkeep:
    instruments = instruments_of(Process.BEAT)
    ringing = Ringing(
        engine=stage.engine,
        publisher=cast("DoorbellPublisher", broker),
        queues=[QUEUE],
        window=WINDOW,
        settings=SETTINGS,
        instruments=instruments,
    )
    return Upkeep(engine=stage.engine, ringing=ringing, settings=SETTINGS, instruments=instruments)


@plot(drained=True)
def a_broker_that_is_away_for_a_round(stage: Stage) -> None:
    """A retry is due while the broker is away; when it is back, beat goes round again."""
    (job,) = stage.submit()
    stage.carry_out(job, retry(seconds=0))
    broker = Broker()
    upkeep = _upkeep(stage, broker)
    for broker.is_away in (True, False):
        upkeep.round()
    for heard in broker.heard:
        stage.carry_out(heard)


@plot()
def a_round_after_the_work(stage: Stage) -> None:
    """Beat goes round right after a job has succeeded."""
    (job,) = stage.submit()
    stage.carry_out(job)
    _upkeep(stage, Broker()).round()
