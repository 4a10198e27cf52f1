"""The gate asks each lane, and tells it of those whom it has just let in."""

import asyncio
import json
import time

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from api.crowd import Crowd
from api.gate import FEW, Gate, Lane
from api.problems import Overloaded
from jobs.errors import Unavailable
from jobs.telemetry.metrics import Instruments

JOBS = b"/api/v1/jobs"


class Scene:
    """A gate whose lanes let so many come, and no more."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.told: list[int] = []
        self.lags: list[float] = []
        self.registry = CollectorRegistry()
        self.gate = Gate(
            self._serve,
            [Lane([self._verdict], JOBS.decode(), body_limit=1000)],
            Lane([self._verdict]),
            Instruments(self.registry),
            bodies_limit=2000,
        )

    def _verdict(self, crowd: Crowd) -> type[Unavailable] | None:
        self.told.append(crowd.coming)
        self.lags.append(crowd.lag)
        return Overloaded if crowd.coming >= self.most else None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served = scope["path"]

    def ask(self, method: bytes = b"POST", url: bytes = JOBS, **headers: bytes) -> bytes | None:
        """Ask at the gate."""
        fields = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
        return self.gate.refusal(method, url, fields, last=False)

    def serve(self) -> None:
        """Have one that was let in looked at."""
        scope: Scope = {"type": "http", "method": "POST", "path": JOBS.decode(), "raw_path": JOBS, "headers": []}

        async def no_more() -> None:
            raise AssertionError

        asyncio.run(self.gate(scope, no_more, no_more))  # type: ignore[arg-type]  # nobody reads or writes


def test_who_was_let_in_counts_until_somebody_looks_at_it() -> None:
    scene = Scene(most=3)

    assert [scene.ask() is None for _ in range(5)] == [True, True, True, False, False]
    scene.serve()
    assert scene.ask() is None
    assert scene.ask() is not None
    assert scene.told == [0, 1, 2, 3, 3, 2, 3]


def test_lanes_do_not_count_each_others() -> None:
    scene = Scene(most=1)

    assert scene.ask() is None
    assert scene.ask(b"GET", b"/api/v1/jobs?limit=5") is None
    assert scene.ask() is not None
    assert scene.ask(b"GET", b"/api/v1/tasks") is not None


def test_a_loop_is_late_only_for_more_than_a_few() -> None:
    scene = Scene()
    scene.gate._lag._due = time.monotonic() - 5

    for _ in range(FEW + 2):
        scene.ask()

    assert scene.lags[:FEW] == [0.0] * FEW
    assert all(lag >= 5 for lag in scene.lags[FEW:])


@pytest.mark.parametrize(
    ("method", "url"),
    [
        (b"GET", b"/health"),
        (b"GET", b"/metrics"),
        (b"POST", b"/api/v1/jobs/7/cancel"),
        (b"DELETE", b"/api/v1/dead-letters/7"),
        (b"POST", b"/api/v1/jobs/"),
    ],
)
def test_what_belongs_to_no_lane_is_let_in(method: bytes, url: bytes) -> None:
    scene = Scene(most=0)

    assert scene.ask(method, url) is None
    assert scene.told == []


def test_a_refusal_is_a_whole_answer() -> None:
    scene = Scene(most=0)
    answer = scene.ask(url=JOBS + b"?x=1", x_request_id=b"mine")
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"content-length: {len(body)}\r\n".encode() in head
    assert json.loads(body)["instance"] == JOBS.decode()
    assert json.loads(body)["request_id"] == "mine"


def test_a_path_that_is_no_json_is_told_as_json() -> None:
    scene = Scene(most=0)
    answer = scene.ask(b"GET", b'/api/v1/"\\\xff')
    assert answer is not None

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["instance"].startswith('/api/v1/"\\')


def test_refusals_are_counted_when_they_are_told() -> None:
    scene = Scene(most=0)
    for _ in range(7):
        scene.ask()
    scene.gate.tell()
    scene.gate.tell()

    assert scene.registry.get_sample_value("penstock_requests_refused_total", {"problem": "overloaded"}) == 7
    labels = {"method": "POST", "route": JOBS.decode(), "status": "503"}
    assert scene.registry.get_sample_value("penstock_http_requests_total", labels) == 7
