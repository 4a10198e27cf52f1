"""Compare the calendar with the oracle for every IANA zone: `python -m tests.unit.calendar.sweep`.

Around every change of every zone's clock from 2015 to 2037, all the templates and some random expressions meet all
ways of dealing with gaps and folds, forwards, backwards and from a random instant; then random days of every zone.
Ends with status 1 and the first disagreement, or with the figures.
"""

import argparse
import platform
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing import Pool

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instant, previous_instant
from jobs.calendar.timing import Rule
from jobs.calendar.zones import ZONE_DATA_VERSION, ZONES
from tests.unit.calendar.comparing import backwards, forwards, plain
from tests.unit.calendar.crons import around, random_cron
from tests.unit.calendar.oracle import Film, PlainCron, changes, instants, wall_at

FIRST, LAST = datetime(2015, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)
NEAR = timedelta(hours=8)
RANDOM_CRONS, RANDOM_DAYS = 8, 30
WAYS = [("run", "once"), ("run", "both"), ("skip", "once"), ("skip", "both")]


class Disagreement(Exception):
    """The calendar and the oracle do not say the same."""


def sweep(zone: str) -> Counter[str]:
    """Return the figures of one zone; raise Disagreement."""
    source = random.Random(zone)
    figures = Counter(zones=1)
    for change in changes(zone, FIRST, LAST):
        forward = wall_at(zone, change) - wall_at(zone, change - timedelta(minutes=1)) > timedelta(minutes=1)
        figures["gaps" if forward else "folds"] += 1
        film = Film(zone, change - NEAR, change + NEAR)
        crons = around(zone, change)
        for text, (on_gap, on_fold) in [
            *((text, WAYS[0]) for text in crons),
            *((source.choice(crons), way) for way in WAYS[1:] * 2),
            *((random_cron(source), source.choice(WAYS)) for _ in range(RANDOM_CRONS)),
        ]:
            figures.update(compare(film, text, on_gap, on_fold, source))
    for _ in range(RANDOM_DAYS):
        start = FIRST + timedelta(minutes=source.randrange((LAST - FIRST) // timedelta(minutes=1)))
        film = Film(zone, start, start + timedelta(days=1))
        for _ in range(3):
            figures.update(compare(film, random_cron(source), *source.choice(WAYS), source))
    return figures


def compare(film: Film, text: str, on_gap: str, on_fold: str, source: random.Random) -> Iterator[str]:
    """Yield a word for each list and instant that was compared."""
    rule = Rule(parse_cron(text), film.zone, on_gap=on_gap, on_fold=on_fold)
    expected = instants(film, PlainCron(text), on_gap=on_gap, on_fold=on_fold)
    probe = film.start + (film.end - film.start) * source.random()
    after, before = [one for one in expected if one[0] > probe], [one for one in expected if one[0] < probe]
    pairs = [(forwards(film, rule), expected), (backwards(film, rule), expected)]
    if after:
        pairs.append((plain(filter(None, [next_instant(rule, probe)])), after[:1]))
    if before:
        pairs.append((plain(filter(None, [previous_instant(rule, probe)])), before[-1:]))
    for found, said in pairs:
        if found != said:
            raise Disagreement(f"{film.zone}, `{text}`, {on_gap}, {on_fold}: {sorted({*found} ^ {*said})[:3]}")
        yield "comparisons"
    yield from ["instants"] * len(expected)


def main() -> int:
    """Sweep the zones and print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--every", type=int, default=1, help="only every n-th zone, to try the command out")
    chosen = options.parse_args()
    begun, figures = time.monotonic(), Counter[str]()
    with Pool(chosen.processes) as pool:
        for done, one in enumerate(pool.imap_unordered(sweep, sorted(ZONES)[:: chosen.every]), 1):
            figures.update(one)
            if sys.stderr.isatty():
                print(f"\r{done} zones", end="", file=sys.stderr)
    for name in ("zones", "gaps", "folds", "comparisons", "instants"):
        print(f"{name:12} {figures[name]:>12,}")
    print(f"{'seconds':12} {time.monotonic() - begun:>12,.0f}  ({chosen.processes} processes)")
    print(f"zone data {ZONE_DATA_VERSION}, Python {platform.python_version()}, {machine()}, commit {commit()}")
    return 0


def machine() -> str:
    return f"{platform.system()} {platform.machine()}"


def commit() -> str:
    answer = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
