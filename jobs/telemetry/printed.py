"""What code prints, as lines of the log: the reader of a log of JSON must not stumble over a task's `print`."""

import io
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import structlog

from jobs.telemetry import logs

log = structlog.get_logger()

_STDERR: Final = 2
LONGEST: Final = 4000
"""Characters of one line that are kept."""


class Printed(io.TextIOBase):
    """Takes the place of `sys.stdout` or `sys.stderr`; what is under it stays open to those who ask for its number."""

    def __init__(self, stream: TextIO, name: str) -> None:
        """Stand before `stream`."""
        self._stream = stream
        self._name = name
        self._here = threading.local()

    @property
    def buffer(self) -> Any:
        """What takes bytes, past the log."""
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute there, which nobody sets
        """That of the stream."""
        return self._stream.encoding

    def fileno(self) -> int:
        """Return the number that programs inherit."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Tell that it is."""
        return True

    def write(self, text: str) -> int:
        """Log each line that is whole; what follows waits for its end."""
        if getattr(self._here, "is_busy", False):  # printed by those who write the log
            return self._stream.write(text)
        *whole, rest = (getattr(self._here, "rest", "") + text).split("\n")
        self._here.rest = rest[-LONGEST:]
        for line in whole:
            self._tell(line)
        return len(text)

    def flush(self) -> None:
        """Log what has no end yet."""
        rest, self._here.rest = getattr(self._here, "rest", ""), ""
        self._tell(rest)

    def _tell(self, line: str) -> None:
        if not line.strip() or getattr(self._here, "is_busy", False):
            return
        self._here.is_busy = True
        try:
            log.info("printed", stream=self._name, text=line[:LONGEST])
        finally:
            self._here.is_busy = False


def say_at_once(text: str, *_: Any) -> None:
    """Write a line from where a signal was caught: the log has a lock that the interrupted code may hold."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    facts = {"stream": "stdout", "text": text[:LONGEST], "event": "printed", "level": "info", "timestamp": now}
    with suppress(OSError):
        os.write(_STDERR, f"{logs.as_json(facts | {'role': 'worker', 'pid': os.getpid()})}\n".encode())


def redirect(settings: logs.LogSettings) -> bool:
    """Have what is printed from now on logged, and tell so; not where people read it, on a terminal or as text."""
    if not logs.is_readable(settings):
        sys.stdout, sys.stderr = Printed(sys.stdout, "stdout"), Printed(sys.stderr, "stderr")
        return True
    return False


def flush() -> None:
    """Log what was printed without an end, while it is known by whom. A task may have put anything in its place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Printed):
            with suppress(Exception):
                stream.flush()
