"""What every ring shares: the real servers, and the ring's mark by the folder that a test lies in."""

from pathlib import Path
from typing import Any

import pytest

from tests.pieces import PieceScheduling
from tests.services.databases import engine  # noqa: F401 - as below
from tests.services.fixtures import *  # noqa: F403 - pytest finds fixtures by name in this module

RINGS = {"unit", "integration", "conformance", "acceptance", "chaos"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its ring, so that `-m unit` needs no discipline."""
    here = Path(__file__).parent
    for item in items:
        ring = item.path.relative_to(here).parts[0]
        if ring in RINGS:
            item.add_marker(ring)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> PieceScheduling | None:
    """Have several testers share the run by pieces, with `--dist loadgroup`."""
    return PieceScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None
