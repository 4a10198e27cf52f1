"""What it costs to be seen: Penstock beside itself, counting and logging as usual, and with less of it."""

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import measures
from tests.bench.figures import Round
from tests.bench.flower import Onlooker
from tests.bench.options import Options
from tests.bench.penstock import Penstock

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

Rounds = dict[str, list[Round]]


def turns(stack: Penstock, options: Options, client: str, home: Path, tell: Callable[[str], None]) -> dict[str, Rounds]:
    """The rounds of each side, by what was measured: jobs taken in with no worker, and jobs drained.

    Without metrics the triggers that keep the census are switched off as well, and nobody scrapes.
    """
    parts: dict[str, Callable[[str], Round]] = {
        "intake": lambda _: measures.intake(stack, options, client, home),
        "drain": lambda side: _drain(stack, options, side),
    }
    found: dict[str, Rounds] = {name: {side: [] for side in _sides(name)} for name in parts}
    for number in range(1, options.rounds + 1):
        for name, measure in parts.items():
            for side in _order(name, number):
                tell(f"cost, {name}, round {number} of {options.rounds}: {side}")
                found[name][side].append(_turn(stack, SIDES[side], partial(measure, side)))
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
    return (
        measures.drain(stack, options, Onlooker(stack).is_told) if side == WATCHED else measures.drain(stack, options)
    )


def _turn(stack: Penstock, settings: Mapping[str, str], measure: Callable[[], Round]) -> Round:
    stack.extra = settings
    try:
        stack.reset()
        if not settings:
            with _scraped(stack):
                return measure()
        with stack.watch() as connection:
            connection.execute("ALTER TABLE jobs DISABLE TRIGGER USER")
        return measure()
    finally:
        stack.stop()
        stack.extra = {}


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
