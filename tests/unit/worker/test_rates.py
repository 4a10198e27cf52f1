"""How fast a worker says it is."""

from tests.clock import Clock
from worker.rates import SPAN, Rates


def test_the_rate_is_that_of_the_last_minute() -> None:
    clock = Clock()
    rates = Rates(clock)
    for _ in range(100):
        rates.ended("mail")
    clock.now += 10
    assert rates.look() == {"mail": 10.0}

    for _ in range(int(SPAN / 5) + 2):
        clock.now += 5
        rates.ended("default")
        found = rates.look()

    assert found == {"default": 0.2}


def test_a_worker_that_has_just_begun_has_no_rate() -> None:
    assert Rates(Clock()).look() == {}
