"""The benchmark runs, counts every answer, and reports figures that can be true. How fast, no test says."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.bench.arrivals import arrive
from tests.bench.figures import Measure, Round, Side, Wanted, percentile
from tests.bench.hammer import Target, hammer
from tests.bench.load import load
from tests.bench.processes import ROOT

RUN_SECONDS = 240
ONLY = "intake,overload,batch,drain,latency,schedules"


class EveryThirdRefused(BaseHTTPRequestHandler):
    """Answers 202 twice and then 503, over and over."""

    protocol_version = "HTTP/1.1"
    turn = count(1)
    answered: list[int] = []  # noqa: RUF012 - one per class is meant: the test's fixture makes a class per test

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status = 503 if next(self.turn) % 3 == 0 else 202
        self.answered.append(status)
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def grudging() -> Iterator[tuple[Target, list[int]]]:
    """A target on a server that refuses every third request, and the statuses that it has sent."""
    answered: list[int] = []
    handler = type("Handler", (EveryThirdRefused,), {"turn": count(1), "answered": answered})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Target(server.server_address[1], "/", b'{"task": "demo.noop"}'), answered
    server.shutdown()
    thread.join()
    server.server_close()


def measured(home: Path, only: str, *more: str) -> dict[str, Any]:
    """What a run with small counts wrote."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--broker", "valkey", "--only", only, *more],
        cwd=ROOT,
        env={**os.environ, "PENSTOCK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr

    written: dict[str, Any] = json.loads((home / "bench.json").read_text())
    return written


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run with tiny counts wrote."""
    tiny = "--client python --workers 1 --connections 4 --drain-jobs 40 --latency-jobs 5 --intake-seconds 0.5"
    return measured(tmp_path_factory.mktemp("bench"), ONLY, *tiny.split())


def test_a_run_measures_both_sides_of_everything(report: dict[str, Any]) -> None:
    measured = {one["name"]: one["sides"] for one in report["measures"]}

    assert set(measured) == {
        "intake",
        "intake_tuned",
        "overload",
        "batch_4",
        "drain_postgresql",
        "drain_redis",
        "latency",
        "schedules_late",
        "schedules_idle",
    }
    assert all(sides["penstock"] for sides in measured.values())
    alone = {name for name, sides in measured.items() if not sides["baseline"]}
    assert alone == {"overload", "schedules_late"}


def test_an_idle_beat_is_measured_with_few_schedules_as_well(report: dict[str, Any]) -> None:
    (idle,) = [one for one in report["measures"] if one["name"] == "schedules_idle"]

    assert all(side["rss_mb"] > 0 for side in idle["sides"].values())


def test_its_figures_can_be_true(report: dict[str, Any]) -> None:
    sides = [side for one in report["measures"] for side in one["sides"].values() if side]

    for one in report["measures"]:
        assert one["ratio"] is None or one["ratio"] > 0, one["name"]
    for side in sides:
        assert side["refused"] == 0
        assert all(turn["count"] > 0 for turn in side["rounds"])
        assert side.get("per_second", 1) > 0
        assert 0 <= side.get("p50_ms", 0) <= side.get("p95_ms", 0) <= side.get("p99_ms", 0)
        assert 0 <= side.get("cpu_percent", 0) < 100


def test_a_drain_counts_the_jobs_that_it_was_given(report: dict[str, Any]) -> None:
    drains = [one for one in report["measures"] if one["name"].startswith("drain")]

    for side in [side for one in drains for side in one["sides"].values()]:
        assert [turn["count"] for turn in side["rounds"]] == [40]


def test_a_run_says_where_and_with_what_it_was_made(report: dict[str, Any]) -> None:
    assert report["versions"]["postgresql fsync"] == "on"
    assert report["versions"]["broker"] == "valkey"
    assert {"celery", "fastapi", "postgresql", "valkey", "python"} <= set(report["versions"])
    assert {"cpu", "cores", "load before", "load after", "fsync of 8 KiB"} <= set(report["machine"])
    assert report["commit"]
    assert report["began_at"].endswith("+00:00")


def test_recovery_is_measured_on_request(tmp_path: Path) -> None:
    report = measured(tmp_path, "recovery")

    (process,), (worker,) = (one["sides"]["penstock"]["rounds"] for one in report["measures"])
    assert (process["count"], worker["count"]) == (3, 1)
    assert 0 < process["p50_ms"] <= process["p99_ms"] == process["max_ms"]
    assert worker["max_ms"] > report["options"]["lease_seconds"] * 1000 / 3, "nobody reported it"


def test_retention_is_measured_on_request(tmp_path: Path) -> None:
    report = measured(tmp_path, "retention")

    intake, pruned, dropped = (one["sides"] for one in report["measures"])
    assert set(intake) == {"penstock", "baseline"}
    for side in intake.values():
        (turn,) = side["rounds"]
        assert 0 < turn["p50_ms"] <= turn["p99_ms"] <= turn["max_ms"]
    assert pruned["penstock"]["rounds"][0]["count"] > 0
    assert dropped["penstock"]["rounds"][0]["count"] == report["options"]["rows"] * 4 // 5


def test_questions_are_measured_on_request(tmp_path: Path) -> None:
    report = measured(tmp_path, "questions")

    asked = [one["sides"]["penstock"]["rounds"][0] for one in report["measures"]]
    assert len(asked) == 6
    assert all(0 < one["p50_ms"] <= one["max_ms"] for one in asked)


def test_scaling_out_is_measured_on_request(tmp_path: Path) -> None:
    report = measured(tmp_path, "scale")

    taken = {one["name"]: one["sides"] for one in report["measures"]}
    assert list(taken) == ["scale_noop_2", "scale_wait_2"]
    for name, sides in taken.items():
        (more,), (one,) = sides["penstock"]["rounds"], sides["baseline"]["rounds"]
        assert more["count"] == one["count"] == (100 if "noop" in name else 50)
        assert min(more["per_second"], one["per_second"]) > 0
    slots = report["options"]["concurrency"]
    assert taken["scale_wait_2"]["baseline"]["per_second"] <= slots / 0.02, "they waited"


def test_the_python_client_counts_every_answer_that_is_not_accepted(grudging: tuple[Target, list[int]]) -> None:
    target, answered = grudging

    result = hammer(target, connections=3, seconds=0.3, processes=2)

    assert result.refused == answered.count(503) > 0
    assert result.accepted == answered.count(202) > 0


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_counts_every_answer_that_is_not_accepted(grudging: tuple[Target, list[int]], tmp_path: Path) -> None:
    target, answered = grudging

    result = load(target, client="wrk", connections=3, seconds=1, folder=tmp_path)

    # wrk hangs up with at most one request under way on each connection.
    assert 0 < result.refused <= answered.count(503) <= result.refused + 3
    assert 0 < result.accepted <= answered.count(202) <= result.accepted + 3


def test_a_server_that_hangs_up_is_not_counted_as_accepted() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _HangsUp) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        result = hammer(Target(server.server_address[1], "/", b"{}"), connections=2, seconds=0.2)
        server.shutdown()
        thread.join()

    assert (result.accepted, result.refused) == (0, 2)


class _HangsUp(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def test_arrivals_count_refusals_that_say_when_to_come_back_and_call_all_others_faults(
    grudging: tuple[Target, list[int]],
) -> None:
    target, answered = grudging

    found = arrive(target, rate=60, connections=4, seconds=1, processes=2)

    assert (len(found.accepted_ms), len(found.refused_ms), found.faults) == (40, 0, 20)  # no Retry-After
    assert answered.count(202) == 40


def test_an_arrival_is_as_late_as_it_was_answered_after_it_was_due() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _SlowAtFirst) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        found = arrive(Target(server.server_address[1], "/", b"{}"), rate=20, connections=1, seconds=1, processes=1)
        server.shutdown()
        thread.join()

    # One connection: who came while the first was served waited too, though the server was quick with them.
    assert sum(late > 200 for late in found.accepted_ms) >= 5
    assert max(found.late_ms) > 200


class _SlowAtFirst(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    waited = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.waited.wait(0.5)
        self.waited.set()
        self.send_response(202)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(one) for one in range(1, 101)]

    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 95) == 7


def test_a_ratio_above_one_means_that_penstock_is_better() -> None:
    fast, slow = Side("a", (Round(10, per_second=200),)), Side("b", (Round(10, per_second=100),))
    quick, lazy = Side("a", (Round(10, p50_ms=2),)), Side("b", (Round(10, p50_ms=8),))

    assert Measure("drain", "", fast, slow).ratio == 2
    assert Measure("latency", "", quick, lazy).ratio == 4


def test_what_is_wanted_and_not_reached_is_named() -> None:
    ours, theirs = Side("a", (Round(10, per_second=200, p95_ms=70),)), Side("b", (Round(10, per_second=100),))

    assert Measure("intake", "", ours, theirs, Wanted(ratio=2, per_second=100, p95_ms=80)).misses() == []
    assert len(Measure("intake", "", ours, theirs, Wanted(ratio=3, per_second=300, p95_ms=60)).misses()) == 3
