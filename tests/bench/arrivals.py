"""An open-loop HTTP client: requests are due at fixed instants, whether or not earlier ones were answered.

Latency counts from the instant at which a request was due, not from when a connection was free to send it: a server
that stalls is charged for everybody who would have come meanwhile (no coordinated omission). Each process has its
own connections and its own part of the schedule.
"""

import multiprocessing
import selectors
import socket
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.bench.figures import percentile
from tests.bench.hammer import PATIENCE_SECONDS, READ_BYTES, Target, content_length

REFUSALS = frozenset({429, 503})
HURRY = 0.0005
"""Seconds before the next request is due in which we do not wait for answers any more."""


@dataclass
class Arrivals:
    """What became of requests that came at a fixed rate; latencies are milliseconds since they were due."""

    accepted_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    faults: int = 0
    """Any other status, a refusal without Retry-After, a broken connection, no answer."""
    late_ms: list[float] = field(default_factory=list)
    """How late the client itself was with what it sent: above a few milliseconds it could not keep the rate."""
    seconds: float = 0.0

    def add(self, other: "Arrivals") -> None:
        self.accepted_ms += other.accepted_ms
        self.refused_ms += other.refused_ms
        self.faults += other.faults
        self.late_ms += other.late_ms
        self.seconds = max(self.seconds, other.seconds)

    @property
    def sent(self) -> int:
        return len(self.accepted_ms) + len(self.refused_ms) + self.faults

    def accepted(self, percent: float) -> float:
        return percentile(self.accepted_ms or [0.0], percent)

    def refused(self, percent: float) -> float:
        return percentile(self.refused_ms or [0.0], percent)


@dataclass(eq=False)
class _Line:
    """A keep-alive connection with at most one request under way."""

    socket: socket.socket
    due: float = 0.0
    answer: bytearray = field(default_factory=bytearray)


class _Client:
    """One process's connections and what they got."""

    def __init__(self, target: Target, connections: int) -> None:
        self._target = target
        self._request = target.request()
        self._selector = selectors.DefaultSelector()
        self._free = deque(self._connect() for _ in range(connections))
        self._busy = 0
        self.found = Arrivals()

    def _connect(self) -> _Line:
        line = _Line(socket.create_connection(("127.0.0.1", self._target.port), timeout=PATIENCE_SECONDS))
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(line.socket, selectors.EVENT_READ, line)
        return line

    def run(self, start_at: float, rate: float, seconds: float) -> Arrivals:
        time.sleep(max(0.0, start_at - time.time()))
        began = time.perf_counter()
        total, sent = int(rate * seconds), 0
        while sent < total:
            now = time.perf_counter()
            while sent < total and self._free and began + sent / rate <= now:
                self._send(began + sent / rate, now)
                sent += 1
            until = began + sent / rate - time.perf_counter() if self._free else PATIENCE_SECONDS
            self._read(max(0.0, until - HURRY))
            if time.perf_counter() - began > seconds + PATIENCE_SECONDS:
                break
        while self._busy and self._read(PATIENCE_SECONDS):
            pass
        self.found.faults += self._busy + total - sent
        self.found.seconds = time.perf_counter() - began
        self._selector.close()
        return self.found

    def _send(self, due: float, now: float) -> None:
        line = self._free.popleft()
        line.due = due
        line.answer.clear()
        self._busy += 1
        self.found.late_ms.append((now - due) * 1000)
        try:
            line.socket.sendall(self._request)
        except OSError:
            self._replace(line)

    def _read(self, patience: float) -> bool:
        """Takes what has come; False when nothing came in time."""
        ready = self._selector.select(patience)
        for key, _ in ready:
            self._receive(key.data)
        return bool(ready)

    def _receive(self, line: _Line) -> None:
        try:
            data = line.socket.recv(READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._replace(line)
            return
        line.answer += data
        head_end = line.answer.find(b"\r\n\r\n")
        if head_end < 0 or len(line.answer) < head_end + 4 + content_length(line.answer[:head_end]):
            return
        self._count(line, int(line.answer[9:12]), head_end)
        self._busy -= 1
        self._free.append(line)

    def _count(self, line: _Line, status: int, head_end: int) -> None:
        milliseconds = (time.perf_counter() - line.due) * 1000
        if status == self._target.expected:
            self.found.accepted_ms.append(milliseconds)
        elif status in REFUSALS and b"\r\nretry-after:" in line.answer[: head_end + 2].lower():
            self.found.refused_ms.append(milliseconds)
        else:
            self.found.faults += 1

    def _replace(self, line: _Line) -> None:
        """The connection broke, with its request if there was one under way: a new one takes its place."""
        if line not in self._free:
            self._busy -= 1
            self.found.faults += 1
        else:
            self._free.remove(line)
        self._selector.unregister(line.socket)
        line.socket.close()
        self._free.append(self._connect())


def arrive(target: Target, *, rate: float, connections: int, seconds: float, processes: int = 2) -> Arrivals:
    """What became of `rate` requests a second for `seconds`, over `connections` connections in all."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        start_at = time.time() + 1.0 + 0.1 * processes  # all processes are up and connected by then
        part = (target, max(1, connections // processes), start_at, rate / processes, seconds)
        futures = [pool.submit(_run, *part) for _ in range(processes)]
        found = Arrivals()
        for future in futures:
            found.add(future.result(seconds + 3 * PATIENCE_SECONDS))
    return found


def _run(target: Target, connections: int, start_at: float, rate: float, seconds: float) -> Arrivals:
    return _Client(target, connections).run(start_at, rate, seconds)
