"""What every ring shares: the real servers, and the ring's mark by the folder that a test lies in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clock import clock  # noqa: F401 - as below
from tests.pieces import PieceScheduling
from tests.services.databases import empty_engine, engine  # noqa: F401 - as below
from tests.services.fixtures import *  # noqa: F403 - pytest finds fixtures by name in this module
from tests.unclosed import pytest_collection_finish, pytest_runtest_teardown  # noqa: F401 - and hooks

#: Where many processes run under load, of code that other tests reach as well. To trace them doubles what they take.
UNTRACED = (
    "chaos", "drill", "integration/failpoints", "acceptance/test_backlog", "acceptance/test_beats",
    "acceptance/test_flower", "acceptance/test_kills", "acceptance/test_overload", "acceptance/test_prometheus",
    "acceptance/test_previous_release", "acceptance/test_rolling", "conformance/test_clocks",
    "conformance/test_failover", "conformance/test_herd", "conformance/test_kills", "conformance/test_releases",
    "integration/test_bench_smoke",
)  # fmt: skip
LAST_LINES = 60
"""Of a failure that did not last."""
RINGS = {"unit", "integration", "conformance", "acceptance", "chaos", "drill"}


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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell of each test that was run once more why it had failed: a second run that passes hides it otherwise."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"failed at first: {report.nodeid}", sep="-")
        terminalreporter.write_line("\n".join(report.longreprtext.splitlines()[-LAST_LINES:]))


@pytest.fixture(scope="module", autouse=True)
def _untraced(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have coverage leave the processes alone that these tests start."""
    place = str(request.path.relative_to(Path(__file__).parent))
    with pytest.MonkeyPatch.context() as patch:
        if place.startswith(UNTRACED):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield
