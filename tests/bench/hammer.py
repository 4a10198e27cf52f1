"""A closed-loop HTTP client that costs little: prepared bytes, plain sockets, one selector per process.

Each connection sends its next request when it has read the answer to the last. It reads just enough of HTTP/1.1
for that: the status line, `Content-Length`, and `Connection: close` as a fault.
"""

import multiprocessing
import selectors
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.bench.figures import Load, percentile

READ_BYTES = 65_536
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Target:
    """One request to send over and over, and the status that means accepted."""

    port: int
    path: str
    body: bytes
    authorization: str = ""
    expected: int = 202

    def request(self) -> bytes:
        head = [
            f"POST {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
        ]
        if self.authorization:
            head.append(f"Authorization: {self.authorization}")
        return "\r\n".join(head).encode() + b"\r\n\r\n" + self.body


@dataclass
class _Counts:
    accepted: int = 0
    refused: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0


class _Connection:
    """A keep-alive connection with at most one request under way."""

    def __init__(self, target: Target) -> None:
        self.socket = socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = bytearray()
        self._sent_at = 0.0

    def send(self, request: bytes) -> None:
        self._answer.clear()
        self._sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> tuple[int, float] | None:
        """Status and milliseconds of a whole answer; None while a part is missing. Raises ConnectionError."""
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self._answer += data
        head_end = self._answer.find(b"\r\n\r\n")
        if head_end < 0 or len(self._answer) < head_end + 4 + content_length(self._answer[:head_end]):
            return None
        return int(self._answer[9:12]), (time.perf_counter() - self._sent_at) * 1000


def content_length(head: bytearray) -> int:
    """The length of the body that `head` announces; raises ConnectionError when it announces none."""
    start = head.lower().find(b"\r\ncontent-length:")
    if start < 0:
        raise ConnectionError(f"an answer without Content-Length: {bytes(head[:200])!r}")
    end = head.find(b"\r\n", start + 2)
    return int(head[start + 17 : end if end >= 0 else None])


def hammer(target: Target, *, connections: int, seconds: float, processes: int = 2) -> Load:
    """The load of `connections` closed loops for `seconds`, shared out over `processes` processes.

    Every request that was begun is waited for and counted; the rate is over the time to the last answer.
    """
    processes = min(processes, connections)
    shares = [connections // processes + (one < connections % processes) for one in range(processes)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        start_at = time.time() + 0.5 + 0.1 * processes  # all processes are up and connected by then
        futures = [pool.submit(_loop, target, share, start_at, seconds) for share in shares]
        counts = [future.result(seconds + 3 * PATIENCE_SECONDS) for future in futures]
    latencies = [one for part in counts for one in part.latencies_ms] or [0.0]
    return Load(
        accepted=sum(part.accepted for part in counts),
        refused=sum(part.refused for part in counts),
        seconds=max(part.ended for part in counts) - min(part.began for part in counts),
        p50_ms=percentile(latencies, 50),
        p95_ms=percentile(latencies, 95),
        p99_ms=percentile(latencies, 99),
        max_ms=max(latencies),
    )


def _loop(target: Target, connections: int, start_at: float, seconds: float) -> _Counts:
    request, counts = target.request(), _Counts()
    selector = selectors.DefaultSelector()
    lines = [_Connection(target) for _ in range(connections)]
    time.sleep(max(0.0, start_at - time.time()))
    counts.began = counts.ended = time.time()
    stop_at = time.perf_counter() + seconds
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
        line.send(request)
    waiting = len(lines)
    while waiting:
        ready = selector.select(PATIENCE_SECONDS)
        if not ready:  # nobody answered for a long time: what is under way is lost
            counts.refused += waiting
            break
        for key, _ in ready:
            waiting -= not _turn(key.data, target, request, counts, more=time.perf_counter() < stop_at)
    counts.ended = time.time()
    for line in lines:
        line.socket.close()
    return counts


def _turn(line: _Connection, target: Target, request: bytes, counts: _Counts, *, more: bool) -> bool:
    """Reads what came on this line; False when the line has come to its end."""
    try:
        answer = line.receive()
    except OSError:
        counts.refused += 1
        line.socket.close()
        return False
    if answer is None:
        return True
    status, milliseconds = answer
    if status == target.expected:
        counts.accepted += 1
    else:
        counts.refused += 1
    counts.latencies_ms.append(milliseconds)
    if more:
        line.send(request)
    return more
