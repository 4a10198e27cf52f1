"""Loads an HTTP server with wrk where it is installed, with our own client otherwise."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.bench.figures import Load
from tests.bench.hammer import Target, hammer

SCRIPT = Path(__file__).with_name("submit.lua")
WRK_THREADS = 2


def choose_client(wish: str) -> str:
    """`wrk` or `python`. Raises RuntimeError when wrk is asked for and not installed."""
    if wish == "python":
        return "python"
    if shutil.which("wrk"):
        return "wrk"
    if wish == "wrk":
        raise RuntimeError("wrk is not installed")
    return "python"


def load(target: Target, *, client: str, connections: int, seconds: float, folder: Path) -> Load:
    """The load of `connections` keep-alive connections for `seconds`."""
    if client == "wrk":
        return _wrk(target, connections=connections, seconds=seconds, folder=folder)
    return hammer(target, connections=connections, seconds=seconds)


def _wrk(target: Target, *, connections: int, seconds: float, folder: Path) -> Load:
    body = folder / "body.json"
    body.write_bytes(target.body)
    threads = min(WRK_THREADS, connections)
    # wrk counts whole seconds.
    arguments = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"]
    finished = subprocess.run(
        [*arguments, "-s", str(SCRIPT), f"http://127.0.0.1:{target.port}{target.path}"],
        env={
            **os.environ,
            "BENCH_BODY": str(body),
            "BENCH_AUTHORIZATION": target.authorization,
            "BENCH_EXPECTED": str(target.expected),
        },
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    for line in finished.stdout.splitlines():
        if line.startswith("RESULT "):
            return Load(**json.loads(line.removeprefix("RESULT ")))
    raise RuntimeError(f"wrk said nothing: {finished.stdout[-500:]} {finished.stderr[-500:]}")
