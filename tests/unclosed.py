"""What a module of tests leaves open is told at its own end, and not in a stranger's test.

A connection, a socket, a child process or a coroutine that nobody closed complains when it is collected, and that may
be much later: the test that runs by then would fail for it.
"""

import gc
import sys
from collections.abc import Generator

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave out of every later collection what only importing has made: one takes a few ms then, not 200."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Fail the last test of a module in its teardown where the module has left something open."""
    complaints: list[str] = []
    try:
        answer = yield
    finally:
        if nextitem is None or nextitem.path != item.path:
            complaints = collect()
    if complaints:
        pytest.fail("\n".join([f"{item.path.name} has left open:", *complaints]), pytrace=False)
    return answer


def collect() -> list[str]:
    """Return what the garbage says of itself as it is collected."""
    told: list[str] = []

    def hear(report: "sys.UnraisableHookArgs") -> None:
        told.append(f"{report.exc_type.__name__}: {report.exc_value}")

    before, sys.unraisablehook = sys.unraisablehook, hear
    try:
        gc.collect()
    finally:
        sys.unraisablehook = before
    return told
