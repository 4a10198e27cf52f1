"""How long the calendar takes on this machine: `python -m tests.unit.calendar.speed`."""

import platform
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instant, next_instants, previous_instant
from jobs.calendar.timing import Every, Rule

AFTER = datetime(2026, 3, 28, 12, tzinfo=UTC)
CRONS = ["*/5 * * * *", "0 3 * * *", "30 9 * * MON-FRI", "0 0 L * *", "0 0 1 1 *", "0 0 29 2 *", "0 0 * 2 MON#5"]


def microseconds(call: Callable[[], object]) -> float:
    """Return the best of five rounds, for one call."""
    call()  # zone data of the years in question are read once for each process
    return min(timeit.repeat(call, number=200, repeat=5)) / 200 * 1e6


def main() -> None:
    """Print one line for each expression."""
    print(f"Python {platform.python_version()}, microseconds; a preview in milliseconds")
    print(f"{'':20} {'parse':>8} {'next':>8} {'previous':>8} {'each of 1000':>12} {'preview of 20':>14}")
    for text in CRONS:
        show(text, Rule(parse_cron(text), "Europe/Berlin"), microseconds(lambda text=text: parse_cron(text)))
    show("every 90 s", Rule(Every(90, AFTER), "Europe/Berlin"), 0)


def show(name: str, rule: Rule, parse: float) -> None:
    following = microseconds(lambda: next_instant(rule, AFTER))
    previous = microseconds(lambda: previous_instant(rule, AFTER))
    each = min(timeit.repeat(lambda: list(next_instants(rule, AFTER, count=1000)), number=1, repeat=3)) * 1e3
    preview = microseconds(lambda: list(next_instants(rule, AFTER, count=20))) / 1e3
    print(f"{name:20} {parse:8.1f} {following:8.1f} {previous:8.1f} {each:12.1f} {preview:14.2f}")


if __name__ == "__main__":
    main()
