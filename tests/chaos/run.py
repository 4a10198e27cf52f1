"""One run from beginning to end: start, load and faults, calm, drain, check."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.bench.machine import commit, machine, versions
from tests.chaos import checker
from tests.chaos.faults.injector import Injector
from tests.chaos.faults.scene import Scene
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.logbook import serious_lines
from tests.chaos.options import Options
from tests.chaos.parts import STOP_SECONDS as PART_SECONDS
from tests.chaos.parts import Supervisor
from tests.chaos.plant import SETTINGS, SLOTS, Plant
from tests.chaos.recovery import felt
from tests.chaos.schedule import Fault, draw
from tests.chaos.tables import Away, Tables, dump
from tests.chaos.tally import Tally
from tests.chaos.unwanted import terms
from tests.chaos.witness import Witness

ANSWER_SECONDS: Final = 60.0
"""After the load, by which every request must have had its answer and every operator be done."""
DRAIN_SECONDS: Final = 120.0
"""After that, by which every job must have reached a final state."""
BOUND_SECONDS: Final = 420.0
"""By which a run is over after its load, whatever happened: the times above, start, check and end."""
CHECK_SHARE: Final = 0.25
"""Of the time of the load, which is given to the check besides: a longer run has more to look through."""
TELL_EVERY: Final = 5.0


class Interrupted(Exception):
    """The run was told to end before it had."""


def schedule(options: Options) -> list[Fault]:
    """Return the faults of the run."""
    return draw(
        options.seed,
        seconds=options.seconds,
        per_minute=options.faults_per_minute,
        lease=options.lease_seconds,
        only=options.only,
    )


class Run:
    """A run in the folder `home`."""

    def __init__(self, options: Options, home: Path, tell: Callable[[str], None], over: threading.Event) -> None:
        """Start nothing; setting `over` ends the run at any point."""
        self._options = options
        self._tell = tell
        self._over = over
        self._calm = threading.Event()
        self._began_at = datetime.now(UTC)
        self._began = self._load_began = time.monotonic()
        self._troubles: list[str] = []
        self.plant = Plant(home, options)

    def execute(self) -> Tally:
        """Return what came of it; everything that was started has ended by then. Raises `Interrupted`."""
        with ExitStack() as stack:
            stack.callback(self.plant.close)
            self._start(stack)
            self._stress()
            self._drain()
            self._supervisor.close()
            if not self.plant.stop_parts():
                self._troubles.append(f"some processes had not ended {PART_SECONDS:g} s after SIGTERM, and were killed")
            report = self._judge()
            if not report.is_good:
                dump(self.plant.postgres.url, self.plant.home / "tables")
            return report

    def _start(self, stack: ExitStack) -> None:
        self._tell(f"starting PostgreSQL, {self._options.broker} and Penstock")
        self.plant.start()
        self._tables = Tables(self.plant.postgres.url)
        stack.callback(self._tables.close)
        ledger = stack.enter_context(Ledger(self.plant.ledger_file))
        options = self._options
        self._load = Load(self.plant.api_urls, self.plant.key, ledger, seed=options.seed, rate=options.rate)
        stack.callback(self._load.close)  # before the ledger that it writes to
        self._supervisor = Supervisor(list(self.plant.parts.values()), lambda: time.monotonic() - self._load_began)
        stack.callback(self._supervisor.close)  # before the processes that it would start again
        witness = Witness(self.plant.executions_file)
        scene = Scene(self.plant, self._load, self._tables, witness, self._calm)
        self._injector = Injector(scene, schedule(options))
        stack.callback(self._calm_down)

    def _stress(self) -> None:
        """Have load and faults until the time is over."""
        self._load_began = time.monotonic()
        self._load.start()
        self._supervisor.start()
        faults = threading.Thread(target=self._injector.run, args=(self._load_began,), name="faults", daemon=True)
        faults.start()
        self._wait_telling(lambda: time.monotonic() - self._load_began >= self._options.seconds)
        self._load.stop()
        faults.join()
        self._calm_down()

    def _calm_down(self) -> None:
        """End what faults have begun: everything runs, and every link is whole."""
        self._calm.set()
        self._injector.close()
        for part in self.plant.parts.values():
            for link in part.links.values():
                link.heal()

    def _drain(self) -> None:
        """Wait until all requests are answered and all jobs are done."""
        self._tell("the load and the faults are over; waiting until every job has reached its end")
        if not self._load.finish(ANSWER_SECONDS):
            self._troubles.append(f"some requests had no answer {ANSWER_SECONDS:g} s after the faults were over")
        deadline = time.monotonic() + DRAIN_SECONDS
        self._wait_telling(lambda: self._tables.unfinished() == 0 or time.monotonic() > deadline)
        left = self._tables.unfinished()
        if left:
            self._troubles.append(f"{left} jobs had not ended {DRAIN_SECONDS:g} s after the faults were over")

    def _wait_telling(self, is_over: Callable[[], bool]) -> None:
        next_word = time.monotonic()
        while not is_over():
            if time.monotonic() >= next_word:
                self._tell_progress()
                next_word += TELL_EVERY
            if self._over.wait(0.1):
                raise Interrupted

    def _tell_progress(self) -> None:
        try:
            counts = self._tables.counts()
            ended = sum(counts.get(state, 0) for state in ("succeeded", "failed", "cancelled", "expired"))
            waiting = sum(counts.values()) - ended - counts.get("running", 0)
            jobs = f"{ended:,} ended, {counts.get('running', 0)} running, {waiting} waiting"
        except Away:
            jobs = "PostgreSQL is away"
        now = [f"{one.fault.kind} {one.fault.where}" for one in self._injector.under_way]
        faults = f"{len(self._injector.strikes)} faults{': ' if now else ''}{', '.join(now)}"
        self._tell(f"{self._load.submitted:,} jobs asked for, {self._load.acknowledged:,} accepted, {jobs}; {faults}")

    def _judge(self) -> Tally:
        """Return the report; all of Penstock's processes have ended."""
        self._tell("checking")
        strikes = self._injector.strikes
        checked = checker.check_run(
            self.plant.postgres.url,
            ledger=self.plant.ledger_file,
            executions=self.plant.executions_file,
            terms=terms(self._options.lease_seconds, strikes),
        )
        lines = self._tables.lines()
        return Tally(
            options=self._options,
            began_at=self._began_at,
            seconds=time.monotonic() - self._began,
            commit=commit(),
            machine=machine(),
            versions=versions() | self.plant.versions(),
            setup=self._setup(),
            checked=checked,
            felt=[
                felt(strike, self._tables, lines, self._options.lease_seconds, self._load.paused_seconds)
                for strike in strikes
            ],
            submitted=self._load.submitted,
            answers=dict(self._load.answers.most_common()),
            operations=dict(self._load.operations),
            deaths=self._supervisor.deaths,
            oddities=self._load.oddities,
            logged=dict(serious_lines(self.plant.logs, frozenset(self.plant.parts)).most_common()),
            run_troubles=self._troubles,
            planned_faults=len(schedule(self._options)),
        )

    def _setup(self) -> dict[str, Any]:
        slots = "+".join(str(count) for count in SLOTS.values())
        processes = f"2 APIs, {len(SLOTS)} workers with {slots} slots, 2 beats"
        settings = {name: value for name, value in SETTINGS.items() if "SECONDS" in name}
        lease = {"PENSTOCK_LEASE_SECONDS": f"{self._options.lease_seconds:g}"}
        bound = {"a cgroup" if memory.kills else "RLIMIT_AS" for memory in self.plant.memory.values()}
        return {"processes": processes} | lease | settings | {"memory bounded by": " and ".join(sorted(bound))}
