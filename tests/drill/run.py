"""One drill from beginning to end: load, a backup, a point in time, the loss of everything, and the way back."""

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

import psycopg

from deploy.stack.errors import DidNotStart
from jobs.migrations import current, head, upgrade
from jobs.model import JobId
from jobs.state import FINAL
from tests.chaos import checker
from tests.chaos.history import Terms
from tests.chaos.ledger import Ledger, Wanted, read_ledger
from tests.chaos.report import Report
from tests.drill import findings
from tests.drill.archive import ArchivingPostgres, BackupFailed
from tests.drill.load import Load
from tests.drill.options import Options, Plant
from tests.drill.point import Asked, Point, Runs, Side, as_of, runs, sides
from tests.drill.resend import Clients
from tests.drill.site import LEASE_SECONDS, Site

WAVE: Final = 60
"""Jobs of about a second each that are handed in shortly before the point, so that many wait and some run there."""
IN_FLIGHT: Final = 20
"""Jobs that are handed in at the point, and have no answer yet."""
SETTLE_SECONDS: Final = 60.0
"""By when the archive must hold the point, and the broker every ready job."""
DRAIN_SECONDS: Final = 90.0
ASKED_AGAIN: Final = 100
"""Requests from before the point that are sent once more."""


@dataclass
class Outcome:
    """What came of a drill, as far as it went."""

    options: Options
    wrong: list[str] = field(default_factory=list)
    """Everything that must not be. The drill is good when this is empty and the checker is content."""
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each step took."""
    checked: Report | None = None

    @property
    def is_good(self) -> bool:
        """Whether the drill came to its end and nothing is wrong."""
        return not self.wrong and self.checked is not None and self.checked.is_clean


class Drill:
    """A drill in the folder `home`."""

    def __init__(self, options: Options, home: Path, tell: Callable[[str], None]) -> None:
        """Start nothing."""
        self.site = Site(home, options.broker)
        self.outcome = Outcome(options)
        self.point = Point(datetime.now(UTC), {}, {}, {})
        self.requests: list[Asked] = []
        self.options = options
        self._tell = tell
        self._first, self._second = home / "ledger.jsonl", home / "ledger-restored.jsonl"
        self._lost_at = self._restored_at = self._began_at = datetime.now(UTC)
        self._present: dict[JobId, int] = {}

    def execute(self) -> Outcome:
        """Return what came of it; everything that was started has ended by then."""
        try:
            self.prepare()
            try:
                self.restore()
            except (BackupFailed, DidNotStart) as error:
                self.outcome.wrong.append(f"nothing was restored: {error}")
                return self.outcome
            self.look()
            self.refill()
            self.go_on()
            self.check()
        finally:
            self.site.close()
        return self.outcome

    # Before the loss

    def prepare(self) -> None:
        """Return when there was load, a backup and a point in time, and everything is lost."""
        self._tell(f"starting PostgreSQL, {self.site.broker.name} and Penstock")
        self.site.start()
        third = self.options.seconds / 3
        urls = {"api-1": self.site.api_url}
        with Ledger(self._first) as ledger:
            load = Load(urls, self.site.key, ledger, seed=self.options.seed, rate=self.options.rate)
            load.start()
            try:
                pause(third)
                with self._timed("base backup under load"):
                    self.outcome.facts["base backup"] = self.site.postgres.run("base").strip()
                pause(third)
                self._choose_point(load)
                # The archive was written to just now: without this, so it would be when everything is lost.
                pause(third + random.Random(self.options.seed).uniform(0, ArchivingPostgres.archive_seconds))
                self._lose()
            finally:
                load.close()
        self._sort()

    def _choose_point(self, load: Load) -> None:
        """Note a point in time at which jobs wait and run, and return when the archive reaches beyond it."""
        wave = [load.extra(Wanted(task="chaos.naps", payload={"seconds": 1.0})) for _ in range(WAVE)]
        for one in wave:
            one.result(SETTLE_SECONDS)
        with psycopg.connect(self.site.postgres.url, autocommit=True) as database:
            states, before = _states(database), _histories(database)
            for _ in range(IN_FLIGHT):
                load.extra(Wanted(task="chaos.quick"))
            wait_until(lambda: load.in_flight > 0, 1.0)
            ((at,),) = database.execute("SELECT clock_timestamp()").fetchall()
            ((begun,),) = database.execute("SELECT pg_current_snapshot()::text").fetchall()
            ended = wait_until(lambda: _has_ended(database, begun), SETTLE_SECONDS)
            after = _histories(database)
            database.execute("SELECT pg_logical_emit_message(true, 'drill', 'beyond the point')")
            ((name,),) = database.execute("SELECT pg_walfile_name(pg_current_wal_lsn() - 1)").fetchall()
        if not ended:
            self.outcome.wrong.append("a transaction from before the point did not end")
        self.point = Point(at, before, after, states)
        self._tell(f"the point is {at.isoformat()}; {states}")
        kept = self.site.postgres.backup / "wal" / f"{name}.gz"
        wait_until(kept.exists, SETTLE_SECONDS)

    def _lose(self) -> None:
        self._lost_at = datetime.now(UTC)
        self._tell("PostgreSQL and the broker are lost, their folders with them")
        self.site.lose()

    def _sort(self) -> None:
        """Divide what clients were told by the point."""
        entries = read_ledger(self._first)
        self.requests = sides(entries, self.point.at)
        with Ledger(self._second) as ledger:
            for entry in as_of(entries, self.point.at):
                ledger.write(entry)
        facts = self.outcome.facts
        facts["point"], facts["lost at"] = self.point.at.isoformat(), self._lost_at.isoformat()
        facts["states at the point"] = dict(self.point.states)
        for side in Side:
            facts[f"acknowledged jobs, {side}"] = sum(len(one.job_ids) for one in self.requests if one.side is side)
        beyond = [str(job_id) for one in self.requests if one.side is Side.BEYOND for job_id in one.job_ids]
        facts["beyond the point"] = beyond
        self.outcome.wrong += findings.shortfalls(self.point, self.requests)

    # The way back

    def restore(self) -> None:
        """Return when PostgreSQL takes writes, as of the point, and the broker is empty."""
        postgres, options = self.site.postgres, self.options
        if options.plant is Plant.WAL:
            plant_gap(self.site)
        saved_at = last_commit(self.site)
        self.outcome.facts["last archived commit"] = saved_at.isoformat()
        self.outcome.seconds["RPO: lost with the disk"] = (self._lost_at - saved_at).total_seconds()
        self._tell(f"restoring to {self.point.at.isoformat()}")
        self._began_at = datetime.now(UTC)
        with self._timed("verify the archive"):
            postgres.run("verify")
        with self._timed("restore the base backup"):
            postgres.restore(*([] if options.plant is Plant.LATE else [self.point.at.isoformat()]))
        with self._timed("recover to the point"):
            postgres.start()
        with self.site.engine() as engine:
            self.outcome.facts["schema"] = f"{current(engine)}, of {head()}"
            upgrade(engine)
        self._restored_at = datetime.now(UTC)
        self.outcome.seconds["RTO: PostgreSQL takes writes"] = (self._restored_at - self._began_at).total_seconds()
        self.site.broker.start()
        if options.plant is Plant.ROW:
            plant_loss(self.site, self.requests)
        if options.plant is Plant.KEY:
            plant_forgotten_keys(self.site)

    def look(self) -> None:
        """Compare what is there with what was acknowledged, before anything runs."""
        with psycopg.connect(self.site.postgres.url) as database:
            self._present = _histories(database)
            self.outcome.facts["states after the restore"] = _states(database)
        self.outcome.wrong += chain(
            findings.lost(self.requests, self._present),
            findings.not_undone(self.requests, self._present),
            findings.between(self.point, self._present),
        )

    def refill(self) -> None:
        """Start the beat alone, and return when it has rung for every ready job in an empty broker."""
        if self.site.doorbells():
            self.outcome.wrong.append("the new broker was not empty")
        with self._timed("the broker is refilled"):
            self.site.begin(["beat-1"])
            wait_until(lambda: self._unheard() == 0, SETTLE_SECONDS)
        ready, bells = self._count("state = 'queued'"), self.site.doorbells()
        self.outcome.facts["ready jobs, and doorbells in the broker"] = [ready, bells]
        if self._unheard() or bells < ready:
            self.outcome.wrong.append(f"{ready} jobs are ready, and the broker has {bells} doorbells")

    def _unheard(self) -> int:
        """Return how many jobs could run, and nobody has rung for them since the restore."""
        since = self._restored_at.isoformat()
        return self._count(f"state = 'queued' AND (rung_at IS NULL OR rung_at < '{since}') OR state = 'running'")

    def _count(self, condition: str) -> int:
        with psycopg.connect(self.site.postgres.url) as database:
            row = database.execute(f"SELECT count(*) FROM jobs WHERE {condition}".encode()).fetchone()
        return int(row[0]) if row else 0

    def go_on(self) -> None:
        """Start the rest, have clients send again what they sent, and return when every job has ended."""
        self.site.begin([name for name in self.site.parts if name != "beat-1"])
        self.outcome.seconds["RTO: the API accepts"] = (datetime.now(UTC) - self._began_at).total_seconds()
        self._tell("everything runs again; clients send again what they sent")
        rng = random.Random(self.options.seed)
        before = [one for one in self.requests if one.side is Side.BEFORE]
        later = [one for one in self.requests if one.side is not Side.BEFORE and one.is_open]
        chosen = before if self.options.plant is Plant.KEY else rng.sample(before, min(ASKED_AGAIN, len(before)))
        with Ledger(self._second) as ledger:
            again = Clients(self.site.api_url, self.site.key, ledger).send_again([*chosen, *later])
        self.outcome.facts["requests sent again"] = {"before the point": len(chosen), "since": len(later)}
        self.outcome.wrong += findings.accepted_twice(again, self._present)
        with self._timed("until every job had ended"):
            wait_until(lambda: self._unfinished() == 0, DRAIN_SECONDS)

    def _unfinished(self) -> int:
        return self._count(f"state NOT IN ({', '.join(repr(str(state)) for state in sorted(FINAL))})")

    def check(self) -> None:
        """Hold all that is on record of this history to the checker's invariants."""
        if not self.site.stop_parts():
            self.outcome.wrong.append("some processes had to be killed")
        self._tell("checking")
        divided: Runs = runs(self.site.executions_file.read_bytes(), self.point.at, self._restored_at)
        kept = self.site.home / "executions-restored.jsonl"
        kept.write_bytes(b"".join(line + b"\n" for line in divided.kept))
        self.outcome.facts["attempts that began after the point, and were undone"] = len(divided.undone)
        self.outcome.facts["jobs of these that ran again"] = divided.jobs_again
        self.outcome.facts["numbers of attempts that were given out twice"] = divided.numbers_again
        terms = Terms(drained=True, lease_seconds=LEASE_SECONDS)
        url = self.site.postgres.url
        self.outcome.checked = checker.check_run(url, ledger=self._second, executions=kept, terms=terms)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.outcome.seconds[what] = time.monotonic() - began


def _states(database: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(database.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())


def _has_ended(database: psycopg.Connection[Any], snapshot: str) -> bool:
    """Tell whether every transaction has ended that was under way then.

    A COMMIT has the time at which it was written, and is seen when it is on the disk: one from before the point may be
    seen some time after it, and is restored.
    """
    query = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= pg_snapshot_xmax(%s::pg_snapshot)"
    return database.execute(query, [snapshot]).fetchone() == (True,)


def _histories(database: psycopg.Connection[Any]) -> dict[JobId, int]:
    """Return how many events each job has."""
    return dict(database.execute("SELECT id, event_count FROM jobs").fetchall())


# Planted bugs


def plant_gap(site: Site) -> None:
    """Take the second to last file of WAL from the archive."""
    site.postgres.archived()[-2].unlink()


def plant_loss(site: Site, requests: list[Asked]) -> None:
    """Delete a job that was acknowledged before the point, with all that is told of it."""
    job_id = next(one.job_ids[0] for one in requests if one.side is Side.BEFORE)
    with psycopg.connect(site.postgres.url) as database:
        for table, column in (("events", "job_id"), ("attempts", "job_id"), ("jobs", "id")):
            database.execute(f"DELETE FROM {table} WHERE {column} = %s".encode(), [job_id])


def plant_forgotten_keys(site: Site) -> None:
    """Delete an idempotency key."""
    with psycopg.connect(site.postgres.url) as database:
        database.execute("DELETE FROM idempotency_keys WHERE key = (SELECT min(key) FROM idempotency_keys)")


def last_commit(site: Site) -> datetime:
    """Return when the last transaction was committed of which the archive has the WAL."""
    for kept in reversed(site.postgres.archived()):
        plain = site.home / kept.stem
        plain.write_bytes(subprocess.run(["gzip", "-dc", kept], capture_output=True, check=True).stdout)
        told = subprocess.run(
            [site.postgres.programs / "pg_waldump", "--rmgr=Transaction", plain],
            env={"TZ": "UTC"}, capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        plain.unlink()
        commits = [line.split("COMMIT ")[1][:26] for line in told.splitlines() if " COMMIT " in line]
        if commits:
            return datetime.fromisoformat(commits[-1]).replace(tzinfo=UTC)
    return datetime.min.replace(tzinfo=UTC)


def pause(seconds: float) -> None:
    """Let the load go on for a while."""
    threading.Event().wait(seconds)


def wait_until(is_true: Callable[[], bool], seconds: float) -> bool:
    """Return when it is true, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_true() and time.monotonic() < deadline:
        pause(0.02)
    return is_true()
