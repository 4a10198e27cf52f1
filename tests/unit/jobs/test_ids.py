"""Ids that sort by the time at which they were made."""

import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model import JobId, _Uuid7, id_after, id_before, new_job_id


def milliseconds(made: JobId) -> int:
    return made.int >> 80


def many(count: int) -> list[JobId]:
    return [new_job_id() for _ in range(count)]


def test_an_id_says_that_it_is_a_uuid_of_version_7() -> None:
    for made in many(1000):
        assert made.version == 7
        assert made.variant == uuid.RFC_4122


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = _Uuid7()()
    after = time.time_ns() // 1_000_000

    assert before <= milliseconds(made) <= after


def test_ids_sort_in_the_order_in_which_they_were_made() -> None:
    made = many(20_000)

    assert made == sorted(made)
    assert [str(one) for one in made] == sorted(str(one) for one in made)
    assert len(set(made)) == len(made)


def test_ids_still_sort_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, now = _Uuid7(), time.time_ns()
    readings = iter([now, now - 3_600_000_000_000, now - 3_600_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(readings))
    made = [maker() for _ in range(3)]

    assert made == sorted(set(made))


def test_the_tail_of_an_id_cannot_be_guessed_from_its_head() -> None:
    tails = {made.int & (2**62 - 1) for made in many(5000)}
    ones = [sum(tail >> bit & 1 for tail in tails) for bit in range(62)]

    assert len(tails) == 5000
    assert all(2000 < count < 3000 for count in ones), "every bit of the tail is as often set as not"


@given(st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone itself
def test_ids_made_within_an_hour_of_an_instant_lie_between_its_bounds(instant: datetime) -> None:
    assert id_before(instant) < id_after(instant)
    earliest, latest = (UUID(int=int((instant.timestamp() + hour) * 1000) << 80) for hour in (-3599, 3599))
    assert id_before(instant) < earliest
    assert latest < id_after(instant)


def test_an_id_that_is_made_now_lies_between_the_bounds_of_now() -> None:
    now = datetime.now(UTC)

    assert id_before(now) < new_job_id() < id_after(now)


@pytest.mark.parametrize("instant", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_the_calendar_have_bounds_too(instant: datetime) -> None:
    assert id_before(instant) <= id_after(instant)


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [one for batch in pool.map(many, [5000] * 8) for one in batch]

    assert len(set(made)) == 40_000


def test_each_thread_sees_its_own_ids_in_order() -> None:
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(many, [2000] * 8))

    assert all(batch == sorted(batch) for batch in batches)


FORKING = """
import os
import threading

from jobs.model import new_job_id

lock, held, done = new_job_id._lock, threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        done.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
done.set()
made = [str(new_job_id()) for _ in range(2000)]
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0  # one after the other: they share a pipe
print("\\n".join(made), flush=True)
raise SystemExit(code)
"""


def test_a_forked_child_makes_ids_of_its_own_even_when_the_lock_was_held() -> None:
    # In a process of its own: a fork of this one would inherit the connections of whatever ran before.
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=20, check=True)

    made = done.stdout.split()
    assert len(made) == 4000
    assert len(set(made)) == 4000
