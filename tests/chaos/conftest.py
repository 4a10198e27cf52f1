"""What the tests of the faults share."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.faults.scene import Scene
from tests.chaos.tables import Tables


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """A run without a load, whose plant has no parts but those that a test puts there."""
    tables = Tables(database_url)
    found: Any = SimpleNamespace(parts={})  # as much of a plant as is asked
    yield Scene(found, found, tables, found, threading.Event())
    tables.close()
