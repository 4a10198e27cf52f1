"""Where small histories are acted out, step by step, with Penstock's own functions on a real database.

`python -m tests.chaos.act MODULE PLOT FOLDER` acts one plot in a process of its own, with whatever build of Penstock
its PYTHONPATH leads to. The database is named by DATABASE_URL; ledger and executions are left in the folder.
"""

import importlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import Engine

from jobs import control, queues, upkeep
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.errors import OutcomeUnknown, PenstockError, Unavailable
from jobs.intake import Answer
from jobs.model import Acceptance, Attempt, JobId, NewJob, Verdict
from jobs.model import Submission as Whole
from tests.chaos.history import Terms
from tests.chaos.ledger import Call, Ledger, Operation, Status, Submission, Wanted, fingerprint
from tests.chaos.recorder import Recorder, proof
from tests.factories import new_job, success
from tests.factories import submission as request
from tests.integration.jobs import scenes
from tests.services.proxy import Proxy

TASK: Final = "chaos.quick"
LEDGER: Final = "ledger.jsonl"
EXECUTIONS: Final = "executions.jsonl"
PACKAGES: Final = ("jobs", "tasks", "worker", "schedules", "api")
STOP_SECONDS: Final = 5.0
"""For how long a function may run that nobody wants any more; the plots' workers need about two."""


class Stage:
    """Clients, workers and operators, all in one hand."""

    def __init__(self, engine: Engine, database_url: str, folder: Path, lease_seconds: float) -> None:
        """Write down in `folder` what clients are told and what tasks do."""
        self.engine = engine
        self.database_url = database_url
        self.executions = folder / EXECUTIONS
        self._lease = timedelta(seconds=lease_seconds)
        self._ledger = Ledger(folder / LEDGER)
        self._recorder = Recorder(self.executions)
        self.executions.touch()

    def close(self) -> None:
        """Write nothing more."""
        self._ledger.close()

    @contextmanager
    def link(self) -> Iterator[Proxy]:
        """Give a way to PostgreSQL that can be cut."""
        server = urlsplit(self.database_url)
        assert server.hostname
        assert server.port
        with Proxy(server.hostname, server.port) as link:
            yield link

    def submit(
        self, *wanted: NewJob, key: str | None = None, hand_in: Callable[..., Answer] | None = None
    ) -> tuple[JobId, ...]:
        """Hand in a request for `wanted`, or for one job of any kind, and return the ids that the client was told."""
        request_id = uuid.uuid4().hex
        asked = [replace(job, task=TASK, request_id=request_id) for job in wanted or (new_job(),)]
        told = fingerprint([job.payload for job in asked])
        sent_at = datetime.now(UTC)
        whole = request(*asked, key=key, fingerprint=told.encode())
        answer = _answer(self.engine, whole, hand_in)
        accepted = isinstance(answer, Acceptance)
        kept = Status.UNKNOWN if isinstance(answer, OutcomeUnknown) else Status.REFUSED
        entry = Submission(
            status=Status.ACKNOWLEDGED if accepted else kept,
            sent_at=sent_at,
            answered_at=datetime.now(UTC),
            key=key,
            fingerprint=told,
            request_id=request_id,
            job_ids=tuple(receipt.id for receipt in answer.receipts) if isinstance(answer, Acceptance) else (),
            replayed=isinstance(answer, Acceptance) and answer.replayed,
            jobs=tuple(_wanted(job) for job in asked),
        )
        self._ledger.write(entry)
        return entry.job_ids

    def operate(self, call: Call, job_id: JobId) -> None:
        """Cancel a job, or send it to work again."""
        sent_at = datetime.now(UTC)
        act: Callable[..., Any] = {Call.CANCEL: control.cancel, Call.RETRY: control.retry}[call]
        try:
            with transaction(self.engine) as connection:
                act(connection, job_id)
            status = Status.ACKNOWLEDGED
        except PenstockError:
            status = Status.REFUSED
        self._ledger.write(Operation(call=call, status=status, sent_at=sent_at, job_id=job_id))

    def govern(self, call: Call, queue: str) -> None:
        """Pause a queue, or have it go on."""
        sent_at = datetime.now(UTC)
        with transaction(self.engine) as connection:
            {Call.PAUSE: queues.pause, Call.RESUME: queues.resume}[call](connection, queue)
        done = {"status": Status.ACKNOWLEDGED, "sent_at": sent_at, "answered_at": datetime.now(UTC)}
        self._ledger.write(Operation(call=call, queue=queue, **done))

    def start(self, job_id: JobId, *, worker: str = "worker-1") -> Attempt | None:
        """Answer a doorbell of the job; None: there is nothing to start."""
        return next(iter(scenes.start(self.engine, job_id, worker=worker, lease=self._lease)), None)

    @contextmanager
    def running(self, attempt: Attempt) -> Iterator[None]:
        """Run the attempt's function for as long as the block lasts."""
        token = f"{attempt.job_id}:{attempt.number:010d}"
        with self._recorder.execution(job_id=attempt.job_id, attempt=attempt.number, token=token, task=attempt.task):
            yield

    def finish(self, attempt: Attempt, verdict: Verdict | None = None) -> None:
        """Report how the attempt ended: by `verdict`, or well, with a result that says whose it is."""
        good = success(json.dumps(proof(attempt.job_id, attempt.number)))
        scenes.end(self.engine, attempt, verdict or good)

    def carry_out(self, job_id: JobId, verdict: Verdict | None = None) -> None:
        """Start the job if it can be started, run its function, and report `verdict` or success."""
        attempt = self.start(job_id)
        if attempt:
            with self.running(attempt):
                pass
            self.finish(attempt, verdict)

    def release_due(self) -> None:
        """Have upkeep queue what is due."""
        with transaction(self.engine) as connection:
            upkeep.release_due(connection)

    def rescue(self) -> None:
        """Have upkeep take jobs from lost attempts."""
        with transaction(self.engine) as connection:
            upkeep.rescue_lost(connection)

    def expire(self) -> None:
        """Have upkeep end what is not wanted any more."""
        with transaction(self.engine) as connection:
            upkeep.expire(connection)


def _answer(engine: Engine, whole: Whole, hand_in: Callable[..., Answer] | None) -> Answer | Unavailable:
    try:
        return hand_in(engine, whole) if hand_in else scenes.submit(engine, whole)[0]
    except Unavailable as error:
        return error


def _wanted(job: NewJob) -> Wanted:
    return Wanted(
        task=job.task,
        payload=json.loads(job.payload),
        queue=job.queue,
        run_at=job.run_at,
        delay_seconds=job.delay.total_seconds() if job.delay else None,
        expires_at=job.expires_at,
        unique_key=job.unique_key,
    )


@dataclass(frozen=True)
class Plot:
    """A small history that can be acted out, and the terms on which it is judged."""

    act: Callable[[Stage], None]
    lease_seconds: float
    drained: bool

    @property
    def terms(self) -> Terms:
        """One machine, one clock, no load: nothing has to be allowed for."""
        return Terms(
            drained=self.drained,
            lease_seconds=self.lease_seconds,
            clocks_apart_seconds=0.0,
            statement_seconds=0.0,
            cancel_seconds=STOP_SECONDS,
            fence_seconds=STOP_SECONDS,
        )


PLOTS: Final[dict[str, Plot]] = {}


def plot(
    lease_seconds: float = 30.0, *, drained: bool = False
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Register a plot under the name of its function.

    A lease of 0 seconds has run out when it is looked at. A plot that is `drained` leaves nothing to be done.
    """

    def register(act: Callable[[Stage], None]) -> Callable[[Stage], None]:
        PLOTS[act.__name__] = Plot(act, lease_seconds, drained)
        return act

    return register


def perform(name: str, database_url: str, folder: Path) -> None:
    """Act a plot out on an empty database."""
    settings = DatabaseSettings(database_url=SecretStr(database_url))
    engine = open_engine(settings, application_name="penstock-tests")
    stage = Stage(engine, database_url, folder, PLOTS[name].lease_seconds)
    try:
        PLOTS[name].act(stage)
    finally:
        stage.close()
        engine.dispose()


def main() -> None:
    """Act the plot that the command line names, and say first which packages it found where."""
    module, name, folder = sys.argv[1:]
    importlib.import_module(module)
    print(json.dumps({package: sys.modules[package].__file__ for package in PACKAGES if package in sys.modules}))
    perform(name, os.environ["DATABASE_URL"], Path(folder))
