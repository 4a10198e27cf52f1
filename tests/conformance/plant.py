"""A whole plant on one broker: a database, beat, workers, and what a test does with them."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from kombu import Connection
from sqlalchemy import Engine, RowMapping, select, text

from deploy.stack.home import ROOT
from deploy.stack.postgres import PostgresServer
from jobs import control, intake, upkeep
from jobs.database import reading, transaction
from jobs.errors import BrokerUnavailable, DatabaseUnavailable
from jobs.model import Acceptance, Doorbell, JobId, NewJob, Submission
from jobs.state import FINAL, JobState
from jobs.tables import attempts, events, jobs
from tasks.publisher import DoorbellPublisher
from tasks.settings import DEAD_SUFFIX
from tasks.topology import depth, transport_options
from tests.services.local_processes import PATIENT, Beat, Broker, LocalProcess, Worker, surroundings
from tests.services.stack import eventually

T = TypeVar("T")

LANES: Final = tuple(f"lane-{number}" for number in range(8))
"""Queues for tests that want workers of their own."""
QUEUES: Final = ("default", *LANES)
FINISH_SECONDS: Final = 30.0

_READY_WORKER: Final = " ready."
_READY_BEAT: Final = "beat: Starting..."


@dataclass
class Plant:
    """What a delivery test needs, whichever broker is under it."""

    broker: Broker
    broker_url: str
    database_url: str
    engine: Engine
    home: Path
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing runs before a worker or beat is started."""
        self.publisher = DoorbellPublisher(self.broker_url, QUEUES)
        self._names = itertools.count(1)
        self._lanes = itertools.cycle(LANES)
        self._started: list[LocalProcess] = []
        self._served: dict[str, list[LocalProcess]] = {}
        self._beats: list[Beat] = []

    # Its processes

    def _process(
        self, name: str, arguments: Sequence[str], prompt: str, own: Mapping[str, object], release: Path
    ) -> LocalProcess:
        environment = surroundings(
            DATABASE_URL=self.database_url,
            BROKER_URL=self.broker_url,
            PENSTOCK_QUEUES=",".join(QUEUES),
            PENSTOCK_TASK_MODULES="tests.worker_tasks",
            PENSTOCK_LOG_FORMAT="json",
            **PATIENT | {f"PENSTOCK_{key.upper()}": value for key, value in {**self.settings, **own}.items()},
        )
        log = self.home / f"{name}.log"
        process = LocalProcess(name, arguments, environment=environment, log=log, prompt=prompt, release=release)
        self._started.append(process)
        return process

    def worker(
        self,
        *,
        queue: str = "default",
        module: str = "worker",
        wait: bool = True,
        release: Path = ROOT,
        **own: object,
    ) -> Worker:
        """Start a worker of `queue` from the code in `release`; `own` are its settings."""
        name = f"worker-{next(self._names)}"
        chosen = {"worker_queues": queue, "node_name": f"{name}@test", "drain_seconds": 1, **own}
        process = self._process(name, [module], _READY_WORKER, chosen, release)
        self._served.setdefault(queue, []).append(process)
        process.start()
        if wait:
            process.ready()
        return Worker(process, app=None)

    def beat(self, release: Path = ROOT, **own: object) -> Beat:
        """Start a beat with a quick pulse from the code in `release`."""
        name = f"beat-{next(self._names)}"
        chosen = {"upkeep_seconds": 0.1, "stranded_seconds": 2, **own}
        process = self._process(name, ["schedules"], _READY_BEAT, chosen, release)
        process.start()
        process.ready()
        self._beats.append(Beat(process))
        return self._beats[-1]

    @contextmanager
    def no_upkeep(self) -> Iterator[None]:
        """Hold every beat still: what then happens to a job, its worker and the broker do alone."""
        for beat in self._beats:
            beat.kill("SIGSTOP", reload_container=False)
        try:
            yield
        finally:
            for beat in self._beats:
                beat.kill("SIGCONT", reload_container=False)

    @contextmanager
    def crew(self, *, count: int = 1, **own: Any) -> Iterator["Crew"]:
        """Give workers of a queue of their own, ended with the block."""
        lane = self.lane()
        crew = [self.worker(queue=lane, wait=False, **own) for _ in range(count)]
        try:
            for worker in crew:
                worker.ready()
            yield Crew(lane, crew)
        finally:
            for worker in crew:
                self.dismiss(worker)

    def dismiss(self, worker: Worker) -> None:
        """Tell a worker to stop; that it has is made sure of before its queue is used again."""
        worker.kill("SIGCONT")
        worker.kill("SIGTERM")

    def lane(self) -> str:
        """Return a queue that nobody serves."""
        lane = next(self._lanes)
        for process in self._served.pop(lane, []):
            process.teardown()
        return lane

    def close(self) -> None:
        """End every process that was started here."""
        for process in self._started:
            process.kill("SIGTERM")
        for process in self._started:
            process.teardown()
        self.publisher.close()

    def restart(self, server: PostgresServer) -> None:
        """Have PostgreSQL up and new, and none of our connections to the old one left."""
        server.restart()
        self.engine.dispose()

    # Jobs

    def submit(self, task: str, queue: str = "default", *, ring: bool = True, **payload: Any) -> JobId:
        """Accept a job and ring for it, as the API does."""
        return self.accept(NewJob(task=task, payload=json.dumps(payload), queue=queue), ring=ring)[0]

    def accept(self, *new: NewJob, ring: bool = True) -> list[JobId]:
        """Accept jobs in one transaction and ring for them; what the broker does not take is left to upkeep."""
        with transaction(self.engine) as connection:
            answers = intake.accept(connection, [Submission(new)])
        assert isinstance(answers[0], Acceptance), answers
        if ring:
            self.ring(intake.doorbells(answers))
        return [job.id for job in new]

    def ring(self, doorbells: Sequence[Doorbell]) -> None:
        """Ring, and mark as unrung what did not get through."""
        try:
            for start in range(0, len(doorbells), 500):
                self.publisher.ring(doorbells[start : start + 500])
        except BrokerUnavailable:
            with transaction(self.engine) as connection:
                upkeep.mark_unrung(connection, [bell.id for bell in doorbells])

    def echoes(self, count: int, queue: str, *, ring: bool = True) -> list[JobId]:
        """Accept so many small jobs at once."""
        new = [NewJob(task="demo.echo", payload=f'{{"message": "{number}"}}', queue=queue) for number in range(count)]
        return self.accept(*new, ring=ring)

    def cancel(self, job_id: JobId) -> JobState:
        """Cancel a job."""
        with transaction(self.engine) as connection:
            return control.cancel(connection, job_id)

    def job(self, job_id: JobId) -> RowMapping:
        """Read a job's row."""
        return self._rows(select(jobs).where(jobs.c.id == job_id))[0]

    def attempts(self, job_id: JobId) -> list[RowMapping]:
        """Read a job's attempts in order."""
        return self._rows(select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number))

    def events(self, job_id: JobId) -> list[str]:
        """Read the names of a job's events in order."""
        return [row["name"] for row in self._rows(select(events).where(events.c.job_id == job_id).order_by("seq"))]

    def outcomes(self, job_id: JobId) -> list[str | None]:
        """Read how each attempt of a job ended."""
        return [row["outcome"] for row in self.attempts(job_id)]

    def ask(self, query: str, **values: Any) -> list[RowMapping]:
        """Read by SQL."""
        return self._rows(text(query).bindparams(**values))

    def change(self, statement: str, **values: Any) -> None:
        """Write by SQL what time or bad luck would have written."""
        with transaction(self.engine) as connection:
            connection.execute(text(statement).bindparams(**values))

    def _rows(self, query: Any) -> list[RowMapping]:
        try:
            with reading(self.engine) as connection:
                return list(connection.execute(query).mappings())
        except DatabaseUnavailable:  # it was restarted by a test: our connections are gone, it is not
            self.engine.dispose()
            with reading(self.engine) as connection:
                return list(connection.execute(query).mappings())

    # Waiting

    def until(self, ask: Callable[[], T], what: str, seconds: float = FINISH_SECONDS) -> T:
        """Return the first true answer of `ask`."""
        return eventually(ask, seconds, what)

    def reaches(self, job_id: JobId, *states: JobState, seconds: float = FINISH_SECONDS) -> RowMapping:
        """Return the job once it is in one of `states`."""

        def there() -> RowMapping | None:
            row = self.job(job_id)
            return row if row["state"] in states else None

        found = eventually(there, seconds, f"job {job_id} is {' or '.join(states)}; it is {self.job(job_id)['state']}")
        assert found is not None
        return found

    def running(self, job_id: JobId, seconds: float = FINISH_SECONDS) -> RowMapping:
        """Return the job once an attempt at it has begun."""
        return self.reaches(job_id, JobState.RUNNING, seconds=seconds)

    def finished(self, job_id: JobId, seconds: float = FINISH_SECONDS) -> RowMapping:
        """Return the job once it is in a final state."""
        return self.reaches(job_id, *FINAL, seconds=seconds)

    def all_finished(self, ids: Iterable[JobId], seconds: float = FINISH_SECONDS) -> list[RowMapping]:
        """Return the jobs once all are in a final state."""
        wanted = list(ids)
        query = select(jobs.c.id, jobs.c.state, jobs.c.attempt).where(jobs.c.id.in_(wanted))

        def left() -> list[RowMapping]:
            return [row for row in self._rows(query) if row["state"] not in FINAL]

        eventually(lambda: not left(), seconds, f"{len(wanted)} jobs are final; left: {left()[:5]}")
        return self._rows(select(jobs).where(jobs.c.id.in_(wanted)))

    # The broker

    def connection(self) -> Connection:
        """Return a connection to the broker."""
        return Connection(self.broker_url, transport_options=transport_options(self.broker_url))

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue of the broker."""
        with self.connection() as connection:
            return depth(connection, queue)

    def buried(self, queue: str) -> int:
        """Return how many unreadable messages of a queue were put aside."""
        return self.depth(queue + DEAD_SUFFIX)


@dataclass
class Crew:
    """Some workers and the queue that they serve."""

    lane: str
    workers: list[Worker]

    @property
    def worker(self) -> Worker:
        """The first of them."""
        return self.workers[0]
