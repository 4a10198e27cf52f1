"""What is printed becomes whole lines of the log, and nothing that is printed is lost or told twice."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from jobs.telemetry import logs
from jobs.telemetry.printed import LONGEST, Printed, say_at_once


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a process has written that logs in JSON."""
    kept, level = logging.getLogger().handlers[:], logging.getLogger().level
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.configure(logs.LogSettings(log_format="json"), role="tests")
    yield terminal
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers[:] = kept
    logging.getLogger().setLevel(level)


def lines(written: io.StringIO) -> list[Any]:
    return [json.loads(line)["text"] for line in written.getvalue().splitlines()]


def test_a_line_is_told_when_it_is_whole_or_when_it_is_asked_for(written: io.StringIO) -> None:
    out = Printed(io.StringIO(), "stdout")

    print("one", "and", "the same", file=out)
    print("two\nthree\n\nfour", end="", file=out)
    assert lines(written) == ["one and the same", "two", "three"]

    out.flush()
    out.flush()
    assert lines(written)[3:] == ["four"]


def test_a_line_without_end_is_bounded(written: io.StringIO) -> None:
    out = Printed(io.StringIO(), "stdout")

    for _ in range(3):
        out.write("x" * LONGEST)
    out.flush()

    assert lines(written) == ["x" * LONGEST]


def test_what_programs_inherit_is_the_stream_itself() -> None:
    with Path("/dev/null").open("w") as stream:
        out = Printed(stream, "stdout")

        assert out.fileno() == stream.fileno()
        assert out.buffer is stream.buffer
        assert out.writable()


def test_what_is_said_from_a_signal_has_the_form_of_every_other_line(
    written: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    print("Wärme: down", file=Printed(io.StringIO(), "stdout"))
    say_at_once("Wärme: down")

    lines = (written.getvalue(), capfd.readouterr().err)
    usual, at_once = (re.sub(r"\d\d\d\d-[\d:.T-]+", "INSTANT", line) for line in lines)
    assert usual.replace('"tests"', '"worker"') == at_once
