"""What is logged in the process of the tests themselves."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog


@pytest.fixture(scope="module", autouse=True)
def _plain_lines() -> Iterator[None]:
    """Have what is logged in our process written plainly: the default draws tracebacks, which takes seconds each."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    before: list[Any] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level]
    structlog.configure(processors=[*before, structlog.dev.set_exc_info, renderer])
    yield
    structlog.reset_defaults()
