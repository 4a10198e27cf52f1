"""Many lines of one event are written as lines of their own, in the form that is configured."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog

from jobs.telemetry import logs
from jobs.telemetry.logs import LogSettings

FULL: Final = Path("/dev/full")
"""Has no room for a byte (full(4))."""


def test_each_thing_gets_a_line_of_its_own_with_what_all_share(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(log_format="json"), role="tests")

    logs.info_each("things_done", [{"thing": "a"}, {"thing": "b"}])

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["thing"] for line in lines] == ["a", "b"]
    assert {line["event"] for line in lines} == {"things_done"}
    assert {line["role"] for line in lines} == {"tests"}
    assert all(line["level"] == "info" and line["timestamp"] for line in lines)


def test_people_get_the_same_lines_to_read(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(log_format="text"), role="tests")

    logs.info_each("things_done", [{"thing": "a"}, {"thing": "b"}])

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "things_done" in lines[0]


def test_nothing_is_written_below_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(log_format="json", log_level="warning"), role="tests")

    logs.info_each("things_done", [{"thing": "a"}])

    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_disk_without_room_costs_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    full = FULL.open("w", buffering=1)
    monkeypatch.setattr(sys, "stderr", full)
    logs.configure(LogSettings(log_format="json"), role="tests")

    structlog.get_logger().info("thing_done")
    logs.info_each("things_done", [{"thing": "a"}, {"thing": "b"}])
    logging.getLogger("a.library").warning("thing done")

    with pytest.raises(OSError, match="No space"):
        full.close()


@pytest.fixture(autouse=True)
def leave_no_configured_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
