"""Faults of the broker and of PostgreSQL."""

import os
import signal
import time
from contextlib import suppress
from typing import Final

import psutil

from deploy.stack.errors import DidNotStart
from deploy.stack.server import Server
from tests.chaos.faults.scene import Scene, Strike, rung, running

STARTS: Final = 3
END_SECONDS: Final = 20.0


def kill_broker(scene: Scene, strike: Strike) -> None:
    """Kill the broker, and start it again with what it had on its disk."""
    scene.strike(strike, rung)
    scene.plant.broker.kill()
    scene.wait(strike.fault.seconds)
    _bring_back(scene.plant.broker)


def restart_broker(scene: Scene, strike: Strike) -> None:
    """Stop the broker in good order, and start it."""
    scene.strike(strike, rung)
    scene.plant.broker.stop()
    scene.wait(strike.fault.seconds)
    _bring_back(scene.plant.broker)


def wipe_broker(scene: Scene, strike: Strike) -> None:
    """Make the broker forget every message."""
    how = strike.fault.either(*scene.plant.broker.wipes)
    scene.strike(strike, rung, how=how)
    scene.plant.broker.wipe(how)


def alarm_broker(scene: Scene, strike: Strike) -> None:
    """Have the broker take nothing for a while."""
    how = strike.fault.either(*scene.plant.broker.alarms)
    scene.strike(strike, rung, how=how)
    with scene.plant.broker.alarmed(how, strike.fault.seconds):
        scene.wait(strike.fault.seconds)


def restart_postgres_fast(scene: Scene, strike: Strike) -> None:
    """Have PostgreSQL throw its clients out and stop, and start it."""
    _end_postgres(scene, strike, signal.SIGINT)


def restart_postgres_immediate(scene: Scene, strike: Strike) -> None:
    """Have PostgreSQL stop without a checkpoint, and start it: it recovers from its log."""
    _end_postgres(scene, strike, signal.SIGQUIT)


def kill_postgres(scene: Scene, strike: Strike) -> None:
    """Kill all of PostgreSQL's processes at once, and start it: it recovers from its log."""
    _end_postgres(scene, strike, signal.SIGKILL)


def _end_postgres(scene: Scene, strike: Strike, number: signal.Signals) -> None:
    server = scene.plant.postgres
    scene.strike(strike, running, scene.load.flights)
    # Each of its processes leads a group of its own, so that one that is left over must be killed by itself.
    processes = _processes(server)
    if server.pid is not None:
        os.kill(server.pid, number)
        deadline = time.monotonic() + END_SECONDS
        while server.pids and time.monotonic() < deadline:
            time.sleep(0.01)
    server.kill()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    scene.wait(strike.fault.seconds)
    _bring_back(server)


def _processes(server: Server) -> list[psutil.Process]:
    try:
        return psutil.Process(server.pid).children() if server.pid is not None else []
    except psutil.NoSuchProcess:
        return []


def _bring_back(server: Server) -> None:
    """Start it again on its port. Raises `DidNotStart` when that fails over and over."""
    for left in reversed(range(STARTS)):
        try:
            server.start()
        except DidNotStart:
            if not left:
                raise
            time.sleep(0.5)
        else:
            return
