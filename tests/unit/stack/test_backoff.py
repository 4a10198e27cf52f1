"""When a process that died is started again."""

import pytest

from deploy.stack.backoff import LARGEST_SECONDS, keeps_dying, restart_delay


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6)])
def test_each_death_within_a_minute_doubles_the_wait(deaths: int, seconds: float) -> None:
    assert restart_delay([100.0] * deaths, now=100.0) == pytest.approx(seconds)


def test_the_wait_has_a_ceiling() -> None:
    assert restart_delay([100.0] * 1000, now=100.0) == LARGEST_SECONDS


def test_a_death_of_long_ago_is_forgotten() -> None:
    assert restart_delay([0.0, 1.0, 2.0, 100.0], now=100.0) == pytest.approx(0.2)
    assert not keeps_dying([0.0, 1.0, 2.0, 100.0], now=100.0)


def test_four_deaths_within_a_minute_are_worth_a_look_at_the_log() -> None:
    assert not keeps_dying([97.0, 98.0, 99.0], now=100.0)
    assert keeps_dying([97.0, 98.0, 99.0, 100.0], now=100.0)
