"""Makes the faults of a schedule at their time, several at once when they meet, and keeps what each of them met."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final

from tests.chaos.faults import links, processes, servers
from tests.chaos.faults.scene import Scene, Strike
from tests.chaos.parts import Held
from tests.chaos.schedule import Fault, Kind

Make = Callable[[Scene, Strike], None]

MAKES: Final[Mapping[Kind, Make]] = {
    Kind.KILL_CHILD: processes.kill_child,
    Kind.KILL_WORKER_MAIN: processes.kill_main,
    Kind.KILL_WORKER: processes.kill,
    Kind.KILL_API: processes.kill,
    Kind.KILL_BEAT: processes.kill,
    Kind.KILL_BROKER: servers.kill_broker,
    Kind.KILL_POSTGRES: servers.kill_postgres,
    Kind.PAUSE_WORKER: processes.pause,
    Kind.PAUSE_API: processes.pause,
    Kind.PAUSE_BEAT: processes.pause,
    Kind.OOM_CHILD: processes.run_out_of_memory,
    Kind.RESTART_BROKER: servers.restart_broker,
    Kind.WIPE_BROKER: servers.wipe_broker,
    Kind.ALARM_BROKER: servers.alarm_broker,
    Kind.RESTART_POSTGRES_FAST: servers.restart_postgres_fast,
    Kind.RESTART_POSTGRES_IMMEDIATE: servers.restart_postgres_immediate,
    Kind.ROLL_WORKER: processes.roll,
    Kind.ROLL_API: processes.roll,
    Kind.ROLL_BEAT: processes.roll,
    Kind.DELAY: links.delay,
    Kind.RESET: links.reset,
    Kind.SILENCE: links.silence,
    Kind.CUT_BEFORE_COMMIT: links.cut_at_commit,
    Kind.CUT_AFTER_COMMIT: links.cut_at_commit,
}
_ON_LINKS: Final = frozenset({Kind.DELAY, Kind.RESET, Kind.SILENCE, Kind.CUT_BEFORE_COMMIT, Kind.CUT_AFTER_COMMIT})
HOLD_SECONDS: Final = 20.0
"""How long a fault waits for another to let go of the same thing; then it is left out."""


class Injector:
    """Makes each fault in a thread of its own."""

    def __init__(self, scene: Scene, schedule: Sequence[Fault]) -> None:
        """Nothing is made before `run`."""
        self._scene = scene
        self._schedule = schedule
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="fault")
        self._made: list[Future[None]] = []
        self.strikes: list[Strike] = []

    @property
    def under_way(self) -> list[Strike]:
        """The faults that are being made."""
        return [strike for strike in self.strikes if strike.ended_at is None and strike.failed is None]

    def run(self, began: float) -> None:
        """Make every fault at its time after `began` on the monotonic clock; return when the last has begun."""
        for fault in self._schedule:
            self._scene.wait(began + fault.at - time.monotonic())
            if self._scene.over.is_set():
                return
            strike = Strike(fault)
            self.strikes.append(strike)
            self._made.append(self._pool.submit(self._make, strike))

    def _make(self, strike: Strike) -> None:
        fault = strike.fault
        try:
            with ExitStack() as stack:
                if fault.kind not in _ON_LINKS:  # a link can be broken whatever becomes of its ends
                    stack.enter_context(self._scene.plant.hold_of(fault.target).held(HOLD_SECONDS))
                MAKES[fault.kind](self._scene, strike)
        except Held:
            strike.failed = "another fault had hold of it"
        except Exception:  # noqa: BLE001 - a fault that cannot be made is told of at the end, with its reason
            strike.failed, strike.broken = traceback.format_exc(), True
        strike.ended_at = datetime.now(UTC)

    def close(self) -> None:
        """Return when every fault has ended what it began; the scene must be over."""
        self._pool.shutdown(cancel_futures=True)
