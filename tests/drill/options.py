"""What one drill is: the command line as one frozen value."""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tests.chaos.options import BROKERS, MOST_SEED, given, positive

LEAST_SECONDS: Final = 6.0
MOST_SECONDS: Final = 90.0


class Plant(StrEnum):
    """A bug that the drill plants in itself, and must find."""

    WAL = "wal"
    """A file of WAL is taken from the archive."""
    ROW = "row"
    """A job's rows are deleted after the restore."""
    KEY = "key"
    """An idempotency key is deleted after the restore."""
    LATE = "late"
    """The restore goes on to the end of the archive."""


@dataclass(frozen=True)
class Options:
    """One drill. The seed decides what is asked for, and when."""

    seed: int = 0
    seconds: float = 30.0
    """For how long there is load before everything is lost: a third each to the backup, to the point, and beyond it."""
    rate: float = 30.0
    """Jobs submitted in a second, on the average."""
    broker: str = "valkey"
    plant: Plant | None = None

    @property
    def command(self) -> str:
        """What a person types to have this very drill again."""
        words = [f"make restore-drill SEED={self.seed} SECONDS={self.seconds:g}"]
        if self.rate != Options().rate:
            words.append(f"RATE={self.rate:g}")
        if self.broker != Options().broker:
            words.append(f"BROKER={self.broker}")
        return " ".join(words)


def parse(argv: Sequence[str] | None = None) -> Options:
    """Return the command line as options; a seed is drawn where none is given."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.drill",
        description="Lose PostgreSQL and the broker under load, restore to a point in time, and check what came back.",
    )
    parser.add_argument("--seed", type=int, help="a number; default: drawn, and printed")
    parser.add_argument("--seconds", type=_bounded, help="of load, 6 to 90; default 30")
    parser.add_argument("--rate", type=positive, help="jobs a second; default 30")
    parser.add_argument("--broker", choices=BROKERS, help="default: valkey")
    parser.add_argument("--plant", type=Plant, choices=list(Plant), help="a bug that the drill must find")
    return replace(Options(seed=random.randrange(MOST_SEED)), **given(parser, argv))


def _bounded(text: str) -> float:
    value = float(text)
    if not LEAST_SECONDS <= value <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"must be {LEAST_SECONDS:g} to {MOST_SECONDS:g}")
    return value
