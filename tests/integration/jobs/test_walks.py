"""Random lives of jobs on real PostgreSQL, beside a model in plain Python that says what must be true."""

import random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from jobs.state import Event
from tests.integration.jobs.lives import VERDICTS, Lives


def test_every_life_goes_as_the_model_says(engine: Engine) -> None:
    """Short walks, which Hypothesis makes shorter still when one fails."""
    Lives.engine = engine
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


#: How often each step is taken in a long walk: much work, and now and then a fault.
WEIGHTS: Final = {
    "submit": 1, "start": 12, "finish": 14, "extend": 3, "report": 2, "cancel": 2, "redrive": 4, "close": 2,
    "replay": 2, "come_due": 3, "release_due": 4, "lose_worker": 4, "rescue_lost": 4, "become_outdated": 1, "expire": 2,
    "lose_doorbell": 2, "ring": 2,
}  # fmt: skip


LEAST_STEPS: Final = 400
MOST_STEPS: Final = 2000
"""Of a walk that goes on until it has seen everything."""
WANTED: Final = {*Event, "accept", "fenced", "cancel_requested", "discarded", "replayed"} - {
    Event.EXPIRE,
    Event.RELEASE,
}


@pytest.mark.parametrize("seed", range(8))
def test_long_lives_go_as_the_model_says(engine: Engine, seed: int) -> None:
    """Long walks of a few jobs, so that each of them sees much."""
    Lives.engine = engine
    chance, lives = random.Random(seed), Lives()
    lives.submit_some(count=4, letter=False, unique_key=None)

    for step in range(MOST_STEPS):
        name = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if name == "submit":
            lives.submit(later=chance.random() < 0.5, unique_key=chance.choice([None, "a", "b"]))
        elif name in {"release_due", "rescue_lost", "expire", "ring"}:
            getattr(lives, name)()
        elif lives.tokens or name not in {"finish", "extend", "report", "lose_worker"}:
            extra: dict[str, Any] = {"verdict": chance.choice(VERDICTS)} if name == "finish" else {}
            extra |= {"letter": chance.random() < 0.5} if name == "replay" else {}
            getattr(lives, name)(choice=chance.randrange(400), **extra)
        lives.the_rows_are_what_the_model_says()
        if step >= LEAST_STEPS and lives.happened() >= WANTED:
            break

    assert lives.happened() >= WANTED, "a walk that sees little proves little"
    lives.teardown()
