"""When a queue was paused for certain: from the answer that it is, until somebody asks that it go on."""

from itertools import islice, pairwise, takewhile

import pytest

from tests.chaos.history import Terms
from tests.chaos.ledger import Call, Status
from tests.chaos.mix import OPEN, pauses
from tests.chaos.pauses import FOREVER
from tests.chaos.pauses import pauses as certain
from tests.chaos.tales import DAWN, governed

UNKNOWN = {"status": Status.UNKNOWN, "answered_at": None}


def seconds(*calls: tuple[Call, float, dict[str, object]]) -> list[tuple[float, float | None]]:
    """Return from when to when the queue was paused for certain, in seconds after dawn; None: for ever."""
    made = [governed(call, at=at, takes=0.5, **facts) for call, at, facts in calls]  # type: ignore[arg-type]  # a test's own
    return [
        ((since - DAWN).total_seconds(), None if until == FOREVER else (until - DAWN).total_seconds())
        for since, until in certain(made).get("default", [])
    ]


@pytest.mark.parametrize(
    ("calls", "spans"),
    [
        ([(Call.PAUSE, 1, {}), (Call.RESUME, 5, {})], [(1.5, 5)]),
        ([(Call.PAUSE, 1, {})], [(1.5, None)]),
        ([(Call.PAUSE, 1, UNKNOWN), (Call.PAUSE, 3, {}), (Call.RESUME, 5, {})], [(3.5, 5)]),
        ([(Call.PAUSE, 1, UNKNOWN), (Call.RESUME, 5, {})], []),
        ([(Call.PAUSE, 1, {"status": Status.REFUSED})], []),
        ([(Call.PAUSE, 1, {}), (Call.RESUME, 5, UNKNOWN), (Call.RESUME, 9, {})], [(1.5, 5)]),
        ([(Call.PAUSE, 1, {}), (Call.PAUSE, 2, {}), (Call.RESUME, 5, {})], [(1.5, 5)]),
        ([(Call.RESUME, 1, UNKNOWN), (Call.RESUME, 2, {}), (Call.PAUSE, 9, {}), (Call.RESUME, 12, {})], []),
        ([(Call.RESUME, 1, UNKNOWN), (Call.RESUME, 2, {}), (Call.PAUSE, 99, {})], [(99.5, None)]),
        ([(Call.PAUSE, 1, {"queue": "bulk"}), (Call.RESUME, 5, {})], []),
    ],
    ids=[
        "told so",
        "for ever",
        "told at the second try",
        "never told",
        "refused",
        "a resume that nobody heard of",
        "paused twice",
        "a resume that may still be on its way",
        "a resume that is over",
        "another queue",
    ],
)
def test_a_pause_is_certain_from_its_answer_to_the_first_try_at_ending_it(
    calls: list[tuple[Call, float, dict[str, object]]], spans: list[tuple[float, float | None]]
) -> None:
    assert seconds(*calls) == spans


def test_pauses_depend_on_the_seed_alone_and_leave_one_queue_open() -> None:
    first, again, other = (list(islice(pauses(seed), 30)) for seed in (1, 1, 2))

    assert first == again != other
    assert {pause.queue for pause in first} == {"default", "bulk"}
    assert OPEN not in {pause.queue for pause in first}
    assert all(earlier.at + earlier.seconds < later.at for earlier, later in pairwise(first))
    assert all(pause.seconds > Terms().statement_seconds for pause in first)


@pytest.mark.parametrize("seed", range(5))
def test_half_a_minute_has_a_pause_and_three_minutes_have_many(seed: int) -> None:
    assert next(pauses(seed)).at < 20
    assert len(list(takewhile(lambda pause: pause.at < 180, pauses(seed)))) >= 6
