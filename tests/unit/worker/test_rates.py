"""How fast a worker says it is."""

from worker.rates import SPAN, Rates


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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
