"""What every ring shares: the real servers, and the ring's mark by the folder that a test lies in."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.clock import clock  # noqa: F401 - as below
from tests.pieces import PieceScheduling
from tests.services.databases import empty_engine, engine  # noqa: F401 - as below
from tests.services.fixtures import *  # noqa: F403 - pytest finds fixtures by name in this module
from tests.unclosed import pytest_collection_finish, pytest_runtest_teardown  # noqa: F401 - and hooks

#: Where many processes run, often under load, of code that other tests reach as well. To trace them doubles what they
#: take. The delivery suite is traced on one broker of the two.
UNTRACED = (
    "chaos", "drill", "integration/failpoints", "acceptance/test_backlog", "acceptance/test_beats",
    "acceptance/test_flower", "acceptance/test_kills", "acceptance/test_machines", "acceptance/test_metrics",
    "acceptance/test_overload", "acceptance/test_previous_release", "acceptance/test_prometheus",
    "acceptance/test_rolling", "conformance/test_clocks", "conformance/test_failover", "conformance/test_herd",
    "conformance/test_kills", "conformance/test_releases", "integration/deploy", "integration/docs",
    "integration/test_bench_smoke", "integration/tls",
)  # fmt: skip
TRACING = "COVERAGE_PROCESS_CONFIG"
"""By which coverage tells the processes that tests start to trace themselves."""
LAST_LINES = 60
"""Of a failure that did not last."""
_CONFIG = pytest.StashKey[str]()
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


def is_traced(nodeid: str) -> bool:
    """Say whether coverage follows the processes that this test starts."""
    place = nodeid.removeprefix("tests/")
    return not place.startswith(UNTRACED) and not (place.startswith("conformance/") and "[rabbitmq" in place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have coverage follow the processes that a test starts, or leave them alone."""
    config = item.config.stash.setdefault(_CONFIG, os.environ.get(TRACING, ""))
    if config and is_traced(item.nodeid):
        os.environ[TRACING] = config
    else:
        os.environ.pop(TRACING, None)
