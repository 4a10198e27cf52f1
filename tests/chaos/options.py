"""What one run under faults is: the command line as one frozen value."""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.chaos.schedule import Kind

BROKERS: Final = ("valkey", "rabbitmq")
MOST_SEED: Final = 1 << 31


@dataclass(frozen=True)
class Options:
    """One run. The same seed, broker, length and rates give the same faults and the same requests."""

    seed: int = 0
    broker: str = "valkey"
    minutes: float = 3.0
    rate: float = 60.0
    """Jobs submitted in a second, on the average."""
    faults_per_minute: float = 18.0
    lease_seconds: float = 6.0
    only: tuple[Kind, ...] = tuple(Kind)
    plan: bool = False
    keep: bool = False

    @property
    def seconds(self) -> float:
        """How long there is load."""
        return self.minutes * 60

    @property
    def planned_jobs(self) -> int:
        """How many jobs are asked for when nothing holds the load up."""
        return round(self.rate * self.seconds)

    @property
    def command(self) -> str:
        """What a person types to have this very run again."""
        words = [f"make chaos SEED={self.seed} MINUTES={self.minutes:g} BROKER={self.broker}"]
        standard = Options()
        if self.rate != standard.rate:
            words.append(f"RATE={self.rate:g}")
        if self.faults_per_minute != standard.faults_per_minute:
            words.append(f"FAULTS={self.faults_per_minute:g}")
        if self.only != standard.only:
            words.append(f"ONLY={','.join(self.only)}")
        return " ".join(words)


def parse(argv: Sequence[str] | None = None) -> Options:
    """Return the command line as options; a seed is drawn where none is given."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Run the whole stack under load and under faults drawn from a seed; check that nothing is lost.",
    )
    parser.add_argument("--seed", type=int, help="a number; default: drawn, and printed")
    parser.add_argument("--broker", choices=BROKERS, help="default: valkey")
    parser.add_argument("--minutes", type=positive, help="of load; default 3")
    parser.add_argument("--rate", type=positive, help="jobs a second; default 60")
    parser.add_argument("--faults-per-minute", type=positive, help="default 18")
    parser.add_argument("--lease-seconds", type=positive, help="of the workers; default 6")
    parser.add_argument("--only", type=_kinds, help="a comma-separated part of the kinds of faults")
    parser.add_argument("--plan", action="store_true", default=None, help="print what would be done, and do nothing")
    parser.add_argument("--keep", action="store_true", default=None, help="keep the folder of a run that went well too")
    return replace(Options(seed=random.randrange(MOST_SEED)), **given(parser, argv))


def given(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> dict[str, Any]:
    """Return the options that are on the command line."""
    return {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}


def positive(text: str) -> float:
    """Return the number. Raises `ValueError`, and `ArgumentTypeError` for one that is not more than 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _kinds(text: str) -> tuple[Kind, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - set(Kind))
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; choose from {', '.join(Kind)}")
    return tuple(kind for kind in Kind if kind in names)
