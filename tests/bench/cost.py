"""What it costs to be seen: Penstock beside itself, counting and logging as usual, and with less of it."""

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from tests.bench import measures
from tests.bench.figures import Round
from tests.bench.flower import Onlooker
from tests.bench.options import Options
from tests.bench.penstock import Penstock
from tests.bench.servers import MORE_PLACES

USUAL: Final = "metrics and logs"
_NO_METRICS: Final = {"PENSTOCK_METRICS": "false"}
WATCHED: Final = "Flower beside them"
SIDES: Final[Mapping[str, Mapping[str, str]]] = {
    USUAL: {},
    WATCHED: {},
    "no metrics": _NO_METRICS,
    "neither": {**_NO_METRICS, "PENSTOCK_LOG_LEVEL": "error"},
}
SCRAPE_EVERY: Final = 1.0
"""Seconds; Prometheus asks every 15 s, or every minute."""
SLICE_SECONDS: Final = 2.0
"""Of one side's turn at taking jobs in: the machine's own pace, which changes by the minute, is then every side's."""

Rounds = dict[str, list[Round]]


def turns(stack: Penstock, options: Options, client: str, home: Path, tell: Callable[[str], None]) -> dict[str, Rounds]:
    """The rounds of each side, by what was measured: jobs taken in with no worker, and jobs drained.

    Without metrics the triggers that keep the census are switched off as well, and nobody scrapes.
    """
    found: dict[str, Rounds] = {name: {side: [] for side in _sides(name)} for name in ("intake", "drain")}
    for number in range(1, options.rounds + 1):
        about = f"round {number} of {options.rounds}"
        tell(f"cost, intake, {about}: all sides, in slices of {SLICE_SECONDS:g} s")
        for side, slices in _intake(stack, options, client, home).items():
            found["intake"][side] += slices
        for side in _order("drain", number):
            tell(f"cost, drain, {about}: {side}")
            with _side(stack, side):
                found["drain"][side].append(_drain(stack, options, side))
    return found


def _intake(stack: Penstock, options: Options, client: str, home: Path) -> Rounds:
    """Every side is up, and they take jobs in by turns: what the machine does beside bears on each alike."""
    count = max(2, round(options.intake_seconds / SLICE_SECONDS))
    found: Rounds = {side: [] for side in _sides("intake")}
    with ExitStack() as up:
        sides = {}
        for place, side in enumerate(found, MORE_PLACES):
            sides[side] = up.enter_context(_side(Penstock(stack.servers, options, home, place), side))
            measures.warm_up(sides[side], options, client, home)
        for number in range(count):
            for side in _order("intake", number):
                with _seen(sides[side]):
                    one = measures.taken_in(sides[side], options, client, home, options.intake_seconds / count)
                found[side].append(one)
    return found


def _sides(name: str) -> list[str]:
    """What is compared; to Flower it is nothing that a job was taken in."""
    return [side for side in SIDES if name == "drain" or side != WATCHED]


def _order(name: str, number: int) -> list[str]:
    """The sides, another one first in each round: a machine that warms up or tires favours none."""
    sides = _sides(name)
    first = number % len(sides)
    return sides[first:] + sides[:first]


def _drain(stack: Penstock, options: Options, side: str) -> Round:
    with _seen(stack):
        more = {"more": Onlooker(stack).is_told} if side == WATCHED else {}
        return measures.drain(stack, options, **more)


@contextmanager
def _side(stack: Penstock, side: str) -> Iterator[Penstock]:
    """The stack is new and set so; at the end it has stopped."""
    stack.extra = SIDES[side]
    try:
        stack.reset()
        if stack.extra:
            with stack.watch() as connection:
                connection.execute("ALTER TABLE jobs DISABLE TRIGGER USER")
        yield stack
    finally:
        stack.stop()
        stack.extra = {}


def _seen(stack: Penstock) -> AbstractContextManager[None]:
    """Somebody reads /metrics meanwhile, unless the stack counts nothing."""
    return nullcontext() if stack.extra else _scraped(stack)


@contextmanager
def _scraped(stack: Penstock) -> Iterator[None]:
    """Somebody reads /metrics of the API every second, as soon as there is one."""
    done = threading.Event()

    def scrape() -> None:
        while not done.wait(SCRAPE_EVERY):
            line = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=10)
            try:
                line.request("GET", "/metrics")
                line.getresponse().read()
            except OSError:  # it has not started, or has ended
                continue
            finally:
                line.close()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
