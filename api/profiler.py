"""A CPU profile of this process while it works: what each of its threads spends the processor's time on.

Samples are taken from a thread of our own and shown by pyinstrument, which is an extra. Its own sampler follows one
thread; here the event loop, the commits and the readers are threads of their own. Only the names and lines of code are
taken, never a value.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Final

from anyio import to_thread

from jobs.errors import PenstockError

try:
    from pyinstrument.renderers import ConsoleRenderer, SpeedscopeRenderer
    from pyinstrument.session import Session

    INSTALLED = True
except ImportError:
    INSTALLED = False

INTERVAL: Final = 0.01
"""Seconds between two samples: the tick in which Linux counts a thread's time."""
TASKS: Final = Path("/proc/self/task")

Stack = list[str]


class ProfilerMissing(PenstockError):
    """The extra for diagnostics is not installed: pip install 'penstock[diagnostics]'."""


class ProfileRunning(PenstockError):
    """A profile of this process is being taken already; there is one at a time."""


class Form(StrEnum):
    """How a profile is shown."""

    SPEEDSCOPE = "speedscope"
    TEXT = "text"


class Profiler:
    """Takes one profile at a time."""

    def __init__(self) -> None:
        """Nothing is measured yet."""
        self._stop: threading.Event | None = None

    @property
    def is_running(self) -> bool:
        """Whether a profile is being taken."""
        return self._stop is not None

    async def take(self, seconds: float, form: Form) -> str:
        """Return what the threads have spent their time on for the next `seconds`.

        Raises `ProfilerMissing`, `ProfileRunning`.
        """
        if not INSTALLED:
            raise ProfilerMissing
        if self.is_running:
            raise ProfileRunning
        stop = self._stop = threading.Event()
        try:
            return await to_thread.run_sync(_measure, seconds, form, stop, abandon_on_cancel=True)
        finally:
            stop.set()
            self._stop = None

    def close(self) -> None:
        """End what is being taken: the process is about to stop."""
        if self._stop is not None:
            self._stop.set()


def _measure(seconds: float, form: Form, stop: threading.Event) -> str:
    began, cpu = time.time(), time.process_time()
    records = list(_samples(seconds, stop))
    session = Session(
        frame_records=records,
        start_time=began,
        duration=sum(spent for _, spent in records),
        min_interval=INTERVAL,
        max_interval=INTERVAL,
        sample_count=len(records),
        start_call_stack=[""],  # what all samples have in common may be left out; nothing is
        target_description=f"Penstock's API, process {os.getpid()}, {time.time() - began:.1f} s",
        cpu_time=time.process_time() - cpu,
        sys_path=sys.path,
        sys_prefixes=Session.current_sys_prefixes(),
    )
    if not records:
        return '{"profiles": []}' if form is Form.SPEEDSCOPE else "No thread has used the processor.\n"
    return (SpeedscopeRenderer() if form is Form.SPEEDSCOPE else ConsoleRenderer()).render(session)


def _samples(seconds: float, stop: threading.Event) -> Iterator[tuple[Stack, float]]:
    """Yield where each thread was, with the seconds of processor time that it has used since the sample before."""
    own, ends = threading.get_ident(), time.monotonic() + seconds
    used = {thread.ident: _used(thread) for thread in threading.enumerate()}
    while time.monotonic() < ends and not stop.wait(INTERVAL):
        frames = sys._current_frames()
        for thread in threading.enumerate():
            frame = frames.get(thread.ident or 0)
            if thread.ident == own or frame is None:
                continue
            now = _used(thread)
            spent, used[thread.ident] = now - used.get(thread.ident, now), now
            if spent > 0:
                yield _stack(thread, frame), spent


def _used(thread: threading.Thread) -> float:
    """Return the processor time that a thread has used, in seconds; where that is not told, the clock's."""
    try:
        fields = (TASKS / str(thread.native_id) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return (
            0.0 if TASKS.exists() else time.monotonic()
        )  # it has ended; or this is no Linux, and idle threads count too
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stack(thread: threading.Thread, frame: FrameType | None) -> Stack:
    """Return the calls of a thread, the outermost first, in pyinstrument's writing."""
    calls = []
    while frame is not None:
        code = frame.f_code
        calls.append(f"{code.co_qualname}\x00{code.co_filename}\x00{code.co_firstlineno}\x01l{frame.f_lineno}")
        frame = frame.f_back
    return [f"{thread.name}\x00<thread>\x00{thread.ident}", *reversed(calls)]
