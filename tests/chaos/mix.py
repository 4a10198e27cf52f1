"""What clients ask for: a steady stream of requests, each drawn from the seed and its own number alone."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tests.chaos.ledger import Call, Wanted


@dataclass(frozen=True, slots=True)
class Then:
    """What an operator does to a job some time after it was acknowledged."""

    call: Call
    after: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One job; times are seconds from the moment in which its request is first sent."""

    task: str
    payload: dict[str, Any]
    queue: str | None = None
    priority: int | None = None
    delay: float | None = None
    run_in: float | None = None
    expires_in: float | None = None
    unique_key: str | None = None
    then: Then | None = None

    def wanted(self, now: datetime) -> Wanted:
        """Return the job as it is asked for at the instant `now`."""

        def instant(seconds: float | None) -> datetime | None:
            return None if seconds is None else now + timedelta(seconds=seconds)

        return Wanted(
            task=self.task,
            payload=self.payload,
            queue=self.queue,
            priority=self.priority,
            run_at=instant(self.run_in),
            delay_seconds=self.delay,
            expires_at=instant(self.expires_in),
            unique_key=self.unique_key,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A single submission, or a batch."""

    number: int
    at: float
    """Seconds after the load began, when nothing holds it up."""
    wishes: Sequence[Wish]
    batch: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """A queue that an operator pauses, and has go on some time later."""

    at: float
    """Seconds after the load began."""
    queue: str
    seconds: float


PAUSED: Final = ("default", "bulk")
"""Queues that are paused now and then. The third stays open: faults hand jobs in that must start at their time."""
OPEN: Final = "critical"

LARGEST_BATCH: Final = 20
_BATCHES: Final = 0.12
_DEAD_LETTERS: Final = (Call.REPLAY, Call.DISCARD, Call.RETRY)

#: How often each kind of job is asked for, and how long those that take time do.
_TASKS: Final = {
    "quick": 0.70,
    "naps": 0.15,
    "dozes": 0.03,
    "errs": 0.06,
    "fails": 0.02,
    "large": 0.02,
    "lasts": 0.004,
    "stubborn": 0.003,
    "endless": 0.001,
    "dies": 0.002,
    "dies for good": 0.0005,
    "cancelled": 0.012,
}


def requests(seed: int, rate: float) -> Iterator[Request]:
    """Yield requests without end, `rate` jobs a second on the average."""
    at = 0.0
    number = 0
    while True:
        number += 1
        request = _request(seed, number, at)
        yield request
        at += len(request.wishes) / rate


def pauses(seed: int) -> Iterator[Pause]:
    """Yield pauses of queues without end, one after the other."""
    rng = random.Random(f"pauses {seed}")
    at = rng.uniform(4.0, 12.0)
    while True:
        pause = Pause(round(at, 2), rng.choice(PAUSED), round(rng.uniform(3.0, 6.0), 2))
        yield pause
        at += pause.seconds + rng.uniform(10.0, 20.0)


def _request(seed: int, number: int, at: float) -> Request:
    rng = random.Random(f"request {seed} {number}")
    batch = rng.random() < _BATCHES
    count = rng.randint(2, LARGEST_BATCH) if batch else 1
    return Request(number, round(at, 4), [_wish(rng, single=not batch) for _ in range(count)], batch)


def _wish(rng: random.Random, *, single: bool) -> Wish:
    kind = rng.choices(list(_TASKS), list(_TASKS.values()))[0]
    task, payload, then = _work(rng, kind)
    delay, run_in, expires_in = _times(rng)
    return Wish(
        task=f"chaos.{task}",
        payload=payload,
        queue=rng.choices((None, "critical", "bulk"), (8, 1, 1))[0],
        priority=rng.choice((None, None, *range(10))),
        delay=delay,
        run_in=run_in,
        expires_in=expires_in,
        # A refused item takes its whole batch back, so only single jobs ask for what may be taken.
        unique_key=f"unique-{rng.randrange(8)}" if single and rng.random() < 0.03 else None,
        then=then,
    )


#: The tasks that sleep, and for how many seconds. What lasts runs elsewhere again when a paused worker wakes up; what
#: is endless ends only because somebody makes it.
_SLEEPS: Final = {
    "naps": ("naps", 0.01, 0.1),
    "lasts": ("naps", 4.0, 8.0),
    "dozes": ("dozes", 0.2, 1.2),
    "cancelled": ("dozes", 0.3, 1.5),
    "stubborn": ("stubborn", 0.3, 2.0),
    "endless": ("stubborn", 60.0, 60.0),
}


def _work(rng: random.Random, kind: str) -> tuple[str, dict[str, Any], Then | None]:
    """Return the task, its payload, and what is done to the job afterwards."""
    if kind in _SLEEPS:
        task, shortest, longest = _SLEEPS[kind]
        unwanted = kind in {"cancelled", "endless"} or (kind == "stubborn" and rng.random() < 0.5)
        cancel = Then(Call.CANCEL, round(rng.uniform(0.0, 1.5), 2)) if unwanted else None
        return task, {"seconds": round(rng.uniform(shortest, longest), 3)}, cancel
    match kind:
        case "errs":
            return "errs", {"times": rng.choice((1, 1, 1, 2, 3))}, None
        case "fails":
            return "fails", {}, Then(rng.choice(_DEAD_LETTERS), round(rng.uniform(0.2, 5.0), 2))
        case "large":
            return "large", {"size": rng.randrange(1_000, 50_000)}, None
        case "dies":
            return "dies", {"times": rng.choice((1, 2))}, None
        case "dies for good":
            return "dies", {"times": 10}, Then(rng.choice(_DEAD_LETTERS), round(rng.uniform(1.0, 6.0), 2))
        case _:
            return kind, {}, None


def _times(rng: random.Random) -> tuple[float | None, float | None, float | None]:
    """Return the delay, the instant of `run_at` and that of `expires_at`, each in seconds from now."""
    chosen = rng.random()
    delay = round(rng.uniform(0.1, 4.0), 2) if chosen < 0.08 else None
    run_in = round(rng.uniform(0.1, 4.0), 2) if 0.08 <= chosen < 0.12 else None
    patience = rng.choice((0.3, 1.0, 4.0))  # what is that impatient expires now and then without a fault
    expires_in = round((run_in or 0.0) + patience, 2) if rng.random() < 0.04 and delay is None else None
    return delay, run_in, expires_in
