"""The measure of scaling out on one machine: the drain by one worker, and by more of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from tests.bench import measures
from tests.bench.figures import Round
from tests.bench.options import Options
from tests.bench.penstock import Penstock
from tests.bench.stacks import NOOP

WAIT: Final[Mapping[str, Any]] = MappingProxyType({"task": "demo.sleep", "payload": {"seconds": 0.02}})
JOBS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"noop": NOOP, "wait": WAIT})
"""What costs processors alone, and what waits for somebody else as most jobs do."""

Rounds = dict[str, dict[int, list[Round]]]


def turns(stack: Penstock, options: Options, tell: Callable[[str], None]) -> Rounds:
    """The rounds by what the jobs do and by how many workers there were; each count has its turn in each round."""
    found: Rounds = {name: {workers: [] for workers in options.scale_workers} for name in JOBS}
    for number in range(1, options.rounds + 1):
        for name, job in JOBS.items():
            count = options.drain_jobs if name == "noop" else options.waiting_drain_jobs
            for workers in options.scale_workers:
                tell(f"scale, {name}, round {number} of {options.rounds}: {workers} worker(s)")
                found[name][workers].append(
                    _turn(stack, replace(options, workers=workers, drain_jobs=count), dict(job))
                )
    return found


def _turn(stack: Penstock, options: Options, job: dict[str, Any]) -> Round:
    usual = stack.options, stack.job
    stack.options, stack.job = options, job
    try:
        stack.reset()
        return measures.drain(stack, options)
    finally:
        stack.stop()
        stack.options, stack.job = usual
