"""The dispatcher rings in the background, and gives back what it cannot ring."""

import threading
from collections.abc import Sequence

import pytest
from kombu import Connection

from deploy.stack.ports import free_port
from jobs.errors import DatabaseUnavailable
from jobs.model import Doorbell, JobId, new_job_id
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import Instruments, instruments_of
from tasks import dispatch
from tasks.dispatch import Dispatcher
from tasks.publisher import DoorbellPublisher
from tasks.topology import depth, transport_options
from tests.services.brokers import each_broker
from tests.services.proxy import Proxy
from tests.services.stack import eventually


def bells(count: int) -> list[Doorbell]:
    return [Doorbell(new_job_id(), "demo.noop", "default", 5) for _ in range(count)]


def counted(instruments: Instruments) -> tuple[float, float]:
    """Return how many doorbells were rung, and how many were given back."""
    value = instruments.registry.get_sample_value
    return value("penstock_doorbells_rung_total") or 0, value("penstock_doorbells_failed_total") or 0


@pytest.fixture
def instruments() -> Instruments:
    return instruments_of(Process.API)


def unconfirmed(instruments: Instruments) -> float | None:
    return instruments.registry.get_sample_value("penstock_doorbells_unconfirmed_total")


class Desk:
    """Takes back what was not rung."""

    def __init__(self) -> None:
        self.returned: list[JobId] = []

    def take(self, ids: Sequence[JobId]) -> None:
        self.returned.extend(ids)


@each_broker
def test_what_many_threads_ring_is_in_the_broker(broker_url: str, instruments: Instruments) -> None:
    desk = Desk()
    dispatcher = Dispatcher(DoorbellPublisher(broker_url, ["default"]), desk.take, instruments)
    dispatcher.start()

    threads = [threading.Thread(target=dispatcher.ring, args=(bells(100),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dispatcher.close()

    with Connection(broker_url, transport_options=transport_options(broker_url)) as connection:
        assert depth(connection, "default") == 800
    assert (counted(instruments), desk.returned) == ((800, 0), [])


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_what_the_broker_does_not_take_is_given_back_at_once(scheme: str, instruments: Instruments) -> None:
    desk = Desk()
    dispatcher = Dispatcher(
        DoorbellPublisher(f"{scheme}://127.0.0.1:{free_port()}", ["default"]), desk.take, instruments
    )
    dispatcher.start()
    rung = bells(700)

    dispatcher.ring(rung)
    eventually(lambda: len(desk.returned) == 700, 10, "all doorbells are given back")
    dispatcher.close()

    assert set(desk.returned) == {bell.id for bell in rung}
    assert counted(instruments) == (0, 700)
    assert unconfirmed(instruments) == 0, "none was sent"


@each_broker
def test_a_broker_that_hangs_is_thought_away_until_it_has_answered(broker_url: str, instruments: Instruments) -> None:
    port = int(broker_url.rpartition("@")[2].partition("/")[0].partition(":")[2])
    with Proxy("127.0.0.1", port) as proxy:
        desk = Desk()
        dispatcher = Dispatcher(DoorbellPublisher(proxy.through(broker_url), ["default"]), desk.take, instruments)
        dispatcher.start()
        dispatcher.ring(bells(1))
        eventually(lambda: counted(instruments) == (1, 0), 10, "the first is rung")

        proxy.swallow()
        dispatcher.ring(bells(3))
        eventually(lambda: dispatcher.is_away, 10, "the broker is thought away")
        assert desk.returned == [], "nobody knows yet"

        eventually(lambda: len(desk.returned) == 3, 30, "what did not get through is given back")
        assert (*counted(instruments), unconfirmed(instruments)) == (1, 3, 3)
        proxy.heal()
        eventually(lambda: not dispatcher.is_away, 10, "it is tried again")
        dispatcher.close()


def test_a_database_that_is_away_as_well_ends_nothing(broker_url: str, instruments: Instruments) -> None:
    tries: list[int] = []

    def away(ids: Sequence[JobId]) -> None:
        tries.append(len(ids))
        raise DatabaseUnavailable

    dispatcher = Dispatcher(DoorbellPublisher(f"redis://127.0.0.1:{free_port()}", ["default"]), away, instruments)
    dispatcher.start()

    for number in range(1, 3):
        dispatcher.ring(bells(1))
        eventually(lambda: len(tries) >= number, 10, "the dispatcher has tried")  # noqa: B023 - asked within the loop
    dispatcher.close()

    assert counted(instruments) == (0, 2)


def test_what_does_not_fit_into_memory_is_left_to_upkeep(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, instruments: Instruments
) -> None:
    monkeypatch.setattr(dispatch, "MOST_WAITING", 10)
    dispatcher = Dispatcher(DoorbellPublisher(broker_url, ["default"]), Desk().take, instruments)

    dispatcher.ring(bells(15))
    dispatcher.start()
    dispatcher.close()

    assert counted(instruments) == (10, 5)
