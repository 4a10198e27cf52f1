"""Beats that are killed, stopped and resumed at random; then each instant of each schedule has exactly one decision.

`python -m tests.chaos.beats --seconds 300` starts what it needs, lets it happen, and prints what was found.
`check_occurrences` holds the tables of any run to the same.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select, text

from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from jobs.calendar.instants import next_instants
from jobs.database import reading, transaction
from jobs.errors import DatabaseUnavailable
from jobs.planning import editing, store
from jobs.planning.model import Definition, Schedule
from jobs.planning.words import CatchUp, Decision, Why
from jobs.tables import jobs, occurrences, schedules
from tests.services.databases import connected, migrate
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.stack import eventually

BEATS: Final = 3
LONGEST_STOP: Final = 9.0
"""Seconds; PostgreSQL takes the locks of a transaction back that stands still for 5."""
SETTLE_SECONDS: Final = 120.0
EVERY_SECOND: Final = "* * * * * *"


# What must hold


def check_occurrences(connection: Connection, until: datetime) -> list[str]:
    """Return what is wrong with what was decided about the instants up to `until`; nothing, if all is well.

    For schedules that were made before, whose instants no edit has moved, and that were not deleted since.
    """
    rows = connection.execute(store.query().where(schedules.c.deleted_at.is_(None))).mappings()
    found = [finding for row in rows for finding in _of_schedule(connection, store.read(row), until)]
    return found + _jobs_without_occurrence(connection)


def _of_schedule(connection: Connection, schedule: Schedule, until: datetime) -> Iterator[str]:
    no_instants = (Why.TRIGGERED.value, Why.GAP.value, Why.FOLD.value)
    of_the_timing = (
        occurrences.c.schedule_id == schedule.id,
        occurrences.c.instant > schedule.created_at,  # what is older is of one that had the name before
        occurrences.c.reason.not_in(no_instants),
    )
    query = select(occurrences).where(*of_the_timing).order_by(occurrences.c.instant)
    rows = connection.execute(query).mappings().all()
    rule = schedule.definition.rule
    expected = [one.at for one in next_instants(rule, schedule.created_at, until=until)]
    decided = Counter[datetime]()
    fired = Counter[datetime]()
    for row in rows:
        last = row["through_at"] or row["instant"]
        before = row["instant"] - timedelta(microseconds=1)
        covered = [one.at for one in next_instants(rule, before, until=last)]
        decided.update(covered or [row["instant"]])
        fired.update([row["instant"]] if row["decision"] == Decision.FIRED else [])
        if covered and row["count"] is not None and len(covered) != row["count"]:
            yield f"{schedule.name}: {row['instant']} counts {row['count']} instants, and is about {len(covered)}"
    strange = sorted(decided.keys() - set(expected))
    missing = [at for at in expected if at not in decided]
    yield from (f"{schedule.name}: {at} was decided and is no instant" for at in strange if at <= until)
    yield from (f"{schedule.name}: {at} was not decided" for at in missing)
    yield from (f"{schedule.name}: {at} was decided {count} times" for at, count in decided.items() if count > 1)
    yield from (f"{schedule.name}: {at} was fired {count} times" for at, count in fired.items() if count > 1)
    if schedule.definition.catch_up is CatchUp.ALL:
        yield from (f"{schedule.name}: {at} has no job" for at in expected if at in decided and at not in fired)


def _jobs_without_occurrence(connection: Connection) -> list[str]:
    made = set(connection.scalars(select(jobs.c.id).where(jobs.c.request_id.like("schedule.%"))))
    fired = list(connection.scalars(select(occurrences.c.job_id).where(occurrences.c.job_id.is_not(None))))
    return [
        *(f"job {job_id} has no occurrence" for job_id in made - set(fired)),
        *(f"job {job_id} of an occurrence is not there" for job_id in set(fired) - made),
        *(f"job {job_id} has {count} occurrences" for job_id, count in Counter(fired).items() if count > 1),
    ]


# What happens


@dataclass
class Storm:
    """Three beats on one database, and what befalls them."""

    engine: Engine
    start_beat: Callable[[int], LocalProcess]
    random: random.Random
    beats: list[LocalProcess] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)

    def rage(self, seconds: float) -> None:
        """Let it happen for so long, and have all beats well again."""
        self.beats = [self.start_beat(number) for number in range(BEATS)]
        over = threading.Event()
        threads = [threading.Thread(target=self._trouble, args=(number, over)) for number in range(BEATS)]
        threads.append(threading.Thread(target=self._edit, args=(over,)))
        for thread in threads:
            thread.start()
        over.wait(seconds)
        over.set()
        for thread in threads:
            thread.join()

    def _trouble(self, number: int, over: threading.Event) -> None:
        chance = random.Random(self.random.random())
        while not over.wait(chance.uniform(0.2, 3.0)):
            act = chance.choice([self._kill, self._stop, self._stop_inside])
            act(number, chance, over)
        self.beats[number].kill(signal.SIGCONT)
        if self.beats[number].status == "exited":
            self._restart(number)

    def _kill(self, number: int, chance: random.Random, over: threading.Event) -> None:
        self.happened["killed"] += 1
        self.beats[number].kill_all()
        over.wait(chance.uniform(0, 2))
        self._restart(number)

    def _restart(self, number: int) -> None:
        self.beats[number].start()

    def _stop(self, number: int, chance: random.Random, over: threading.Event) -> None:
        self.happened["stopped"] += 1
        self.beats[number].kill(signal.SIGSTOP)
        over.wait(chance.uniform(0.1, LONGEST_STOP))
        self.beats[number].kill(signal.SIGCONT)

    def _stop_inside(self, number: int, chance: random.Random, over: threading.Event) -> None:
        """Stop it while it has a transaction open, and for longer than PostgreSQL lets it."""
        for _ in range(100):
            self.beats[number].kill(signal.SIGSTOP)
            if self._stands_inside(over):
                self.happened["stopped inside a transaction"] += 1
                over.wait(chance.uniform(5.5, LONGEST_STOP))
                break
            self.beats[number].kill(signal.SIGCONT)
            if over.wait(chance.uniform(0, 0.05)):
                break
        self.beats[number].kill(signal.SIGCONT)

    def _stands_inside(self, over: threading.Event) -> bool:
        """Tell whether a beat has done nothing in an open transaction for a while, as one that runs never does."""
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
            " AND application_name = 'penstock-beat' AND clock_timestamp() - state_change BETWEEN '30 ms' AND '1 s'"
        )
        over.wait(0.04)
        with reading(self.engine) as connection:
            return bool(connection.scalar(query))

    def _edit(self, over: threading.Event) -> None:
        """Edit schedules all the while: edits and firing meet at the row's lock. Each timing keeps its instants."""
        with reading(self.engine) as connection:
            names = list(connection.scalars(select(schedules.c.name)))
        chance = random.Random(self.random.random())
        while not over.wait(0.1):
            make = chance.choice([_prioritised(chance.randrange(10)), _ending(chance.randrange(2100, 2900))])
            try:
                with transaction(self.engine) as connection:
                    editing.put(connection, chance.choice(names), make, editing.ANYBODY)
            except Exception as error:  # noqa: BLE001 - a lock that a stopped beat held for too long, as a client would see it
                self.happened[f"edit: {type(error).__name__}"] += 1
            else:
                self.happened["edited"] += 1

    def settle(self) -> datetime:
        """Return an instant up to which all schedules have decided, now that all beats are well."""
        with reading(self.engine) as connection:
            until = connection.scalars(select(func.clock_timestamp())).one()

        def has_caught_up() -> bool:
            try:
                with reading(self.engine) as connection:
                    is_behind = schedules.c.decided_until < until - timedelta(seconds=1)
                    behind = select(func.count()).where(is_behind | (func.cardinality(schedules.c.kept) > 0))
                    return not connection.scalar(behind)
            except DatabaseUnavailable:
                return False

        eventually(has_caught_up, SETTLE_SECONDS, "all schedules have caught up")
        return until - timedelta(seconds=1)

    def end(self) -> None:
        """Leave no beat running."""
        for beat in self.beats:
            beat.kill(signal.SIGCONT)
            beat.kill_all()


def _prioritised(priority: int) -> editing.Make:
    def make(found: Schedule | None, _now: datetime) -> Definition:
        assert found is not None
        return replace(found.definition, priority=priority)

    return make


def _ending(year: int) -> editing.Make:
    """Change the timing, and none of the instants that matter: what a beat has left undecided is kept."""

    def make(found: Schedule | None, _now: datetime) -> Definition:
        assert found is not None
        return replace(found.definition, end_at=datetime(year, 1, 1, tzinfo=UTC))

    return make


def write_schedules(engine: Engine, count: int) -> None:
    """Store `count` schedules of each second, of all kinds of catch-up."""
    for number in range(count):
        catch_up = [CatchUp.ALL, CatchUp.ALL, CatchUp.LATEST, CatchUp.NONE][number % 4]
        timing: dict[str, Any] = {"every_seconds": 1.0} if number % 2 else {"cron": EVERY_SECOND}
        limits = {"catch_up_window_seconds": 3600.0, "catch_up_limit": 1000}
        definition = Definition(**timing, **limits, task="demo.noop", queue="default", catch_up=catch_up)
        with transaction(engine) as connection:
            editing.put(connection, f"each-second-{number}", lambda *_, made=definition: made, editing.ANYBODY)  # type: ignore[misc]  # binds the loop's value


@dataclass(frozen=True)
class Found:
    """What a storm came to."""

    findings: Sequence[str]
    instants: int
    fired: int
    latest_seconds: float
    """How late the latest job was."""
    happened: Counter[str]


def run(*, database_url: str, broker_url: str, home: Path, seconds: float, count: int, seed: int) -> Found:
    """Have beats fire `count` schedules of each second through a storm, and return what was found afterwards."""
    with connected(database_url) as engine:
        return _endure(engine, database_url, broker_url, home, seconds, count, seed)


def _endure(
    engine: Engine, database_url: str, broker_url: str, home: Path, seconds: float, count: int, seed: int
) -> Found:
    environment = surroundings(
        DATABASE_URL=database_url,
        BROKER_URL=broker_url,
        PENSTOCK_MISSED_AFTER_SECONDS=5,
        PENSTOCK_LOG_FORMAT="json",
    )

    def start_beat(number: int) -> LocalProcess:
        log = home / f"beat-{number}.log"
        beat = LocalProcess(log.stem, ["schedules"], environment=environment, log=log, prompt="beat: Starting...")
        beat.start()
        beat.ready()
        return beat

    storm = Storm(engine, start_beat, random.Random(seed))
    write_schedules(engine, count)
    try:
        storm.rage(seconds)
        until = storm.settle()
    finally:
        storm.end()
    with reading(engine) as connection:
        findings = check_occurrences(connection, until)
        instants, fired, latest = connection.execute(
            select(
                func.sum(occurrences.c.count),
                func.count(occurrences.c.job_id),
                func.max(func.extract("epoch", occurrences.c.decided_at - occurrences.c.instant)).filter(
                    occurrences.c.job_id.is_not(None)
                ),
            )
        ).one()
    return Found(findings, int(instants), int(fired), float(latest), storm.happened)


@contextmanager
def _own_servers() -> Iterator[tuple[str, str, Path]]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-beats-")))
        home.chmod(0o711)  # the servers may run under another account
        postgres, valkey = PostgresServer(home / "postgres"), ValkeyServer(home / "valkey")
        for server in (postgres, valkey):
            stack.callback(server.destroy)
            server.start()
        migrate(postgres.url)
        yield postgres.url, valkey.url, home


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when no instant is missing and none doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.beats", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="of trouble; default 300")
    parser.add_argument("--schedules", type=int, default=60, help="each of them due every second; default 60")
    parser.add_argument(
        "--seed", type=int, default=int.from_bytes(os.urandom(4), "big"), help="to have it happen again"
    )
    chosen = parser.parse_args(arguments)
    with _own_servers() as (database_url, broker_url, home):
        found = run(
            database_url=database_url,
            broker_url=broker_url,
            home=home,
            seconds=chosen.seconds,
            count=chosen.schedules,
            seed=chosen.seed,
        )
    print(f"seed {chosen.seed}, {chosen.seconds:g} s, {chosen.schedules} schedules of each second, {BEATS} beats")
    print(f"{found.instants} instants decided, {found.fired} jobs, the latest {found.latest_seconds:.1f} s late")
    print(", ".join(f"{what} {count}" for what, count in sorted(found.happened.items())))
    for finding in found.findings:
        print(finding)
    print("no instant is missing, none was fired twice" if not found.findings else f"{len(found.findings)} findings")
    return 1 if found.findings else 0


if __name__ == "__main__":
    sys.exit(main())
