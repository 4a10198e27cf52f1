"""How much to measure: the command line as one frozen value."""

import argparse
from dataclasses import dataclass, replace
from typing import Literal

Broker = Literal["rabbitmq", "valkey"]
MEASURES = ("intake", "overload", "batch", "drain", "latency", "schedules", "cost")
ON_REQUEST = ("backlog", "poison", "recovery", "retention", "questions", "scale")
SIDES = ("penstock", "baseline")


@dataclass(frozen=True)
class Options:
    """Counts and times of one run; every one of them is a bound."""

    only: tuple[str, ...] = MEASURES
    sides: tuple[str, ...] = SIDES
    broker: Broker = "rabbitmq"
    client: str = "auto"
    rounds: int = 3
    connections: int = 64
    api_processes: int = 2
    intake_seconds: float = 6.0
    calm_seconds: float = 2.0
    """Before the storm, and each look after it."""
    storm_seconds: float = 20.0
    storm_connections: int = 3000
    batch_seconds: float = 4.0
    batch_size: int = 1000
    batch_connections: tuple[int, ...] = (1, 4)
    warm_seconds: float = 1.0
    workers: int = 2
    concurrency: int = 2
    drain_jobs: int = 10_000
    waiting_drain_jobs: int = 2000
    """Of the scale measure: jobs that wait."""
    scale_workers: tuple[int, ...] = (1, 2, 4)
    """Of the scale measure; the others stand beside the first."""
    backlog_jobs: int = 1_000_000
    backlog_seconds: float = 10.0
    poison_seconds: float = 10.0
    rows: int = 10_000_000
    """Of the retention measure."""
    finished_jobs: int = 1_000_000
    waiting_jobs: int = 100_000
    questions: int = 300
    """How often each is asked."""
    latency_jobs: int = 300
    due_schedules: int = 1000
    idle_schedules: int = 100_000
    idle_seconds: float = 15.0
    settle_seconds: float = 3.0
    """What beat is given for its first rounds."""
    lost_processes: int = 100
    lost_workers: int = 5
    lease_seconds: float = 30.0
    """Of the recovery measure: what is usual."""
    keep: bool = False

    @property
    def worker_processes(self) -> int:
        return self.workers * self.concurrency


QUICK = Options(
    rounds=1,
    connections=8,
    api_processes=1,
    intake_seconds=1.0,
    calm_seconds=0.5,
    storm_seconds=1.0,
    storm_connections=40,
    batch_seconds=0.5,
    batch_size=100,
    batch_connections=(4,),
    warm_seconds=0.3,
    concurrency=1,
    drain_jobs=100,
    waiting_drain_jobs=50,
    scale_workers=(1, 2),
    backlog_jobs=3000,
    backlog_seconds=1.0,
    poison_seconds=2.0,
    rows=20_000,
    finished_jobs=10_000,
    waiting_jobs=1_000,
    questions=20,
    latency_jobs=10,
    due_schedules=50,
    idle_schedules=2000,
    idle_seconds=0.5,
    settle_seconds=0.5,
    lost_processes=3,
    lost_workers=1,
    lease_seconds=3.0,
)


_ONLY = f"a comma-separated part of {','.join(MEASURES)}, and on request alone {','.join(ON_REQUEST)}"


def parse(argv: list[str] | None = None) -> Options:
    """The command line is an `Options`; what it does not name keeps the value of a full or `--quick` run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure Penstock beside a hand-built stack and plain Celery, in one run, in turns.",
    )
    parser.add_argument("--quick", action="store_true", help="small counts: shows that it runs, not how fast")
    parser.add_argument("--only", type=_names(MEASURES + ON_REQUEST), help=_ONLY)
    parser.add_argument("--sides", type=_names(SIDES), help="measure one side alone, to profile it")
    parser.add_argument("--broker", choices=("rabbitmq", "valkey"), help="default: rabbitmq")
    parser.add_argument("--client", choices=("auto", "wrk", "python"), help="default: wrk where it is installed")
    parser.add_argument("--rounds", type=_positive, help="turns that each side gets; the median is shown")
    parser.add_argument("--connections", type=_positive, help="of the intake measure; default 64")
    parser.add_argument("--api-processes", type=_positive, help="on both sides; default 2")
    parser.add_argument("--workers", type=_positive, help="Celery workers on both sides; default 2")
    parser.add_argument("--concurrency", type=_positive, help="prefork children of each worker; default 2")
    parser.add_argument("--drain-jobs", type=_positive, help="default 10,000")
    parser.add_argument("--backlog-jobs", type=_positive, help="default 1,000,000")
    parser.add_argument("--rows", type=_positive, help="of finished jobs, for the retention; default 10,000,000")
    parser.add_argument("--latency-jobs", type=_positive, help="default 300")
    parser.add_argument("--intake-seconds", type=float, help="of load in each round; default 6")
    parser.add_argument("--keep", action="store_true", default=None, help="leave the temporary folder with its logs")
    given = vars(parser.parse_args(argv))
    start = QUICK if given.pop("quick") else Options()
    return replace(start, **{name: value for name, value in given.items() if value is not None})


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


class _names:  # noqa: N801  # used as a function: argparse names a type by its __name__
    """Parses a comma-separated subset of `known`."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self.known = known

    def __call__(self, text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        if not names or not set(names) <= set(self.known):
            raise argparse.ArgumentTypeError(f"choose from {', '.join(self.known)}")
        return names
