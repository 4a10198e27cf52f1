"""A worker is deaf when it starts nothing for long although jobs wait, and not otherwise."""

import pytest

from tests.clock import Clock
from worker.ears import MOST_DOUBLINGS, Ears

SECONDS = 60.0


@pytest.fixture
def ears(clock: Clock) -> Ears:
    return Ears(SECONDS, clock=clock, jitter=lambda low, _high: low)


def deaf_after(ears: Ears, clock: Clock, seconds: float, *, jobs_wait: bool = True) -> float | None:
    """Let time pass, look when it is wanted, and return after how many seconds the ears were deaf."""
    began = clock.now
    while clock.now < began + seconds:
        clock.now += 1
        if ears.wants_look():
            ears.looked(jobs_wait=jobs_wait)
        if ears.are_deaf:
            return clock.now - began
    return None


def test_silence_beside_waiting_jobs_is_deafness(ears: Ears, clock: Clock) -> None:
    after = deaf_after(ears, clock, 100)

    assert after is not None
    assert SECONDS <= after <= SECONDS * 1.2


def test_silence_alone_is_not(ears: Ears, clock: Clock) -> None:
    assert deaf_after(ears, clock, 1000, jobs_wait=False) is None


def test_a_look_that_came_to_nothing_is_not_made_again_at_once(ears: Ears, clock: Clock) -> None:
    clock.now += SECONDS
    assert ears.wants_look()

    ears.put_off()

    assert not ears.wants_look()
    clock.now += SECONDS / 8
    assert ears.wants_look()


def test_jobs_that_wait_at_one_look_only_are_no_reason(ears: Ears, clock: Clock) -> None:
    clock.now += 10 * SECONDS
    for _ in range(50):
        ears.looked(jobs_wait=True)
        assert not ears.are_deaf
        clock.now += SECONDS / 4
        ears.looked(jobs_wait=False)
        clock.now += SECONDS / 4


@pytest.mark.parametrize("note", ["claimed", "excused"])
def test_who_starts_jobs_or_need_not_is_not_deaf(note: str, ears: Ears, clock: Clock) -> None:
    for _ in range(10):
        assert deaf_after(ears, clock, SECONDS - 5) is None
        getattr(ears, note)()


def test_a_job_that_is_started_takes_the_finding_back(ears: Ears, clock: Clock) -> None:
    deaf_after(ears, clock, 100)

    ears.claimed()

    assert not ears.are_deaf


def test_nobody_looks_while_it_is_not_quiet(ears: Ears, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 1
        ears.claimed()
        assert not ears.wants_look()


def test_looks_are_rare(ears: Ears, clock: Clock) -> None:
    looks = 0
    for _ in range(600):
        clock.now += 1
        if ears.wants_look():
            looks += 1
            ears.looked(jobs_wait=False)

    assert 0 < looks <= 10 * 8


def test_new_connections_that_do_not_help_are_made_less_and_less_often(ears: Ears, clock: Clock) -> None:
    waits = []
    for _ in range(MOST_DOUBLINGS + 2):
        waits.append(deaf_after(ears, clock, 100 * SECONDS) or 0)
        ears.restarted()

    assert waits[1] > 1.8 * waits[0]
    assert waits[2] > 1.8 * waits[1]
    assert waits[-1] == waits[-2] < 10 * SECONDS
    ears.claimed()
    assert (deaf_after(ears, clock, 100) or 0) <= SECONDS * 1.2
