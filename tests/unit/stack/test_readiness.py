"""How many workers an answer of `/ready` counts."""

import pytest

from deploy.stack.readiness import counted_workers


@pytest.mark.parametrize(
    ("said", "workers"),
    [
        ({"workers_alive": 2}, 2),
        ({"workers_alive": None}, 0),
        ({"workers_alive": "many"}, 0),
        ({}, 0),
        (["workers_alive"], 0),
        (None, 0),
    ],
)
def test_workers_are_counted_where_the_answer_says_how_many(said: object, workers: int) -> None:
    assert counted_workers(said) == workers
