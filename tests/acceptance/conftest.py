"""A home for a stack of the test's own, and nothing left of it afterwards."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services.stack import Stack


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes stacks in homes of their own; `new_stack(BROKER="rabbitmq")` sets the environment's choices."""
    made: list[Stack] = []

    def make(**choices: str) -> Stack:
        made.append(Stack(tmp_path / f"home-{len(made)}", **choices))
        return made[-1]

    yield make
    for stack in made:
        stack.end()


@pytest.fixture
def stack(new_stack: Callable[..., Stack]) -> Stack:
    """A stack that has not been started."""
    return new_stack()
