"""Writes docs/reference/fail-points.md from the table of fail-points: `python -m tests.unit.docs.fail_points_page`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.stack.home import ROOT
from jobs.points import MEANINGS, POINTS, Breaks, Point, Process

PAGE: Final = ROOT / "docs" / "reference" / "fail-points.md"

HEAD: Final = """# Fail-points

<!-- Made by `python -m tests.unit.docs.fail_points_page`; a test fails when this page and the code differ. -->

Every gap between two durable steps has a name. A test arms some of these fail-points and starts a real process, which
then fails exactly there. They are for tests: a process that is armed says so in its log (`fail_points_armed`), and
writes `fail_point` when one acts.

```sh
PENSTOCK_FAIL_POINTS="intake.commit=kill,settle.write=cut@2,start.hold=delay@3:1.5"
```

Each entry is `point=action[@nth][:seconds]`: what happens when this process comes to the point for the nth time (the
first, unless told), and how long a delay lasts (a second, unless told). A point may be armed for several passages. A
process of a worker's pool counts for itself, from what its parent had counted when it was forked. A name that is not
below, or an action that makes no sense at a point, keeps the process from starting.

## Actions
"""

COST: Final = """## How they are exercised

Every action at every point, by `tests/integration/failpoints`: real processes with a point armed, a real PostgreSQL and
broker, clients that try again under the same key. A process that died is replaced by one that is not armed. Then every
job must have come to its end, and [the checker](../explanation/checker.md) must find nothing wrong with what is on
record. A test walks the code for points that the table lacks, and another fails when an action of a point is not
exercised.

```sh
make test T="tests/integration/failpoints"
```

## What they cost

Nothing else arms a fail-point, and unarmed it is a call that looks at an empty dictionary: about 30 ns with Python
3.11, of which a call that does nothing takes 25. A job passes some thirty of these calls from its submission to its
end, half of them once for a whole batch: a microsecond. Measure it anew:

```sh
python -m timeit -s "from jobs.failpoints import reached" "reached('intake.commit')"
```
"""

TITLES: Final = {
    Process.API: "In the API",
    Process.WORKER: "In a worker's main process",
    Process.POOL: "In a process of a worker's pool",
    Process.BEAT: "In beat",
}
COLUMNS: Final = """| point | what has happened | what comes next | what an outage takes away | module |
|---|---|---|---|---|
"""
AWAY: Final = {
    Breaks.SESSION: "the connection to PostgreSQL",
    Breaks.STORE: "PostgreSQL",
    Breaks.PIPE: "a socket, a pipe or a process",
    Breaks.BROKER: "the broker",
}


def page() -> str:
    """Return the page as the code is now."""
    actions = "".join(f"| `{action}` | {meaning} |\n" for action, meaning in MEANINGS.items())
    parts = [HEAD, f"| action | what happens |\n|---|---|\n{actions}"]
    parts += [section(process) for process in Process]
    parts += [left_out(), COST]
    return "\n".join(parts)


def section(process: Process) -> str:
    """Return the points of one kind of process."""
    rows = (row(name, point) for name, point in POINTS.items() if point.process is process)
    return f"## {TITLES[process]}\n\n{COLUMNS}{''.join(rows)}"


def row(name: str, point: Point) -> str:
    """Return the line of one point."""
    return f"| `{name}` | {point.done} | {point.step} | {AWAY[point.breaks]} | `{point.where}` |\n"


def left_out() -> str:
    """Return which actions make no sense where, and why."""
    reasons = "".join(reason for reason in _reasons())
    return f"## What makes no sense\n\n| point | action | because |\n|---|---|---|\n{reasons}"


def _reasons() -> Iterator[str]:
    for name, point in POINTS.items():
        for action, reason in point.never.items():
            yield f"| `{name}` | `{action}` | {reason} |\n"


def main(file: Path = PAGE) -> None:
    """Write the page."""
    file.write_text(page())


if __name__ == "__main__":
    main()
