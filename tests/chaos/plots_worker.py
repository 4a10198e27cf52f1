"""Small histories of the worker's own part: what it does with the processes that run its attempts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydantic import SecretStr

from deploy.stack.home import ROOT
from jobs.database import DatabaseSettings, open_engine
from jobs.model import JobId
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
from tasks.catalogue import Catalogue
from tasks.messages import Ring
from tests.chaos.ledger import Call
from tests.chaos.recorder import Execution, proof, read_executions
from tests.chaos.stage import STOP_SECONDS, TASK, Stage, plot
from tests.services.proxy import Proxy, When
from tests.services.stack import eventually
from worker.admission import Doorbell
from worker.ears import Ears
from worker.execution import Ending, How
from worker.heartbeat import Heartbeat
from worker.keeper import Keeper
from worker.ledger import Ledger
from worker.running import Running
from worker.settings import WorkerSettings

NAME: Final = "worker-1"
SECONDS: Final = 30.0
START: Final = b"INSERT INTO attempts"
FINISH: Final = b"UPDATE attempts"
"""Words of the statements that begin and that end attempts, as they go over the wire."""
SETTINGS: Final = WorkerSettings(lease_seconds=3, cancel_grace_seconds=0.2)
UNWANTED_SECONDS: Final = STOP_SECONDS + 1
"""For how long nobody ends a function but the worker."""


@dataclass(frozen=True)
class Worker:
    """A keeper and its heartbeat, on a real database, without a broker and a pool."""

    stage: Stage
    keeper: Keeper
    heartbeat: Heartbeat

    def ring(self, job_id: JobId) -> None:
        """Bring a doorbell of the job."""
        self.keeper.offer(Ring(TASK, (job_id,)), Doorbell(lambda: None, lambda: None, 1))

    def take(self, job_id: JobId) -> Running:
        """Start the job."""
        self.ring(job_id)
        eventually(lambda: len(self.keeper.launches) == 1, SECONDS, "the attempt has begun")
        return self.keeper.launches.popleft()

    @contextmanager
    def running(self, running: Running) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the attempt's function in a process of its own, which ends with the block, and tell the keeper."""
        attempt = running.attempt
        words = [str(self.stage.executions), str(attempt.job_id), str(attempt.number), attempt.task]
        with subprocess.Popen([sys.executable, "-m", "tests.chaos.body", *words], cwd=ROOT) as body:
            try:
                eventually(lambda: self._seen(running) is not None, SECONDS, "the function runs")
                self.keeper.accepted(running, body.pid)
                yield body
            finally:
                body.kill()
        self.keeper.ended(running, Ending(How.LOST))
        eventually(lambda: running not in self.keeper.held(), SECONDS, "its end is settled")

    def carry_out(self, running: Running) -> None:
        """Run the attempt's function here, and have its success settled, or given up."""
        attempt = running.attempt
        with self.stage.running(attempt):
            pass
        self.keeper.ended(running, Ending(How.SUCCEEDED, result=json.dumps(proof(attempt.job_id, attempt.number))))
        eventually(lambda: running not in self.keeper.held(), SECONDS, "its end is settled")

    def _seen(self, running: Running) -> Execution | None:
        mine = (running.attempt.job_id, running.attempt.number)
        runs = read_executions(self.stage.executions)
        return next((one for one in runs if (one.job_id, one.attempt) == mine and one.seen_at), None)

    def wait_for_end(self, running: Running, body: "subprocess.Popen[bytes]") -> None:
        """Return when the process has ended, or has run for so long that somebody should have ended it."""
        begun = self._seen(running)
        assert begun
        now = max(begun.seen_at)

        def is_over() -> bool:
            seen = self._seen(running)
            return body.poll() is not None or (seen is not None and seen.ran_after(now) > UNWANTED_SECONDS)

        eventually(is_over, SECONDS, "the function ends")


@contextmanager
def _worker(stage: Stage, lease_seconds: float, link: Proxy | None = None) -> Iterator[Worker]:
    """Give a worker whose heart does not beat yet; its first lease is so long, and PostgreSQL behind `link`."""
    url = link.through(stage.database_url) if link else stage.database_url
    with ExitStack() as open_:
        settings = DatabaseSettings(database_url=SecretStr(url))
        hot = open_engine(settings, application_name="penstock-tests", pool_size=3, hot=True)
        open_.callback(hot.dispose)
        keeper = Keeper(
            worker=NAME,
            ledger=Ledger(hot, NAME, timedelta(seconds=lease_seconds)),
            slots=2,
            catalogue=Catalogue([]),
            instruments=instruments_of(Process.WORKER),
        )
        heartbeat = Heartbeat(keeper, hot, SETTINGS, Ears(3600), tuple)
        keeper.start()
        open_.callback(keeper.close)
        open_.callback(heartbeat.close)
        yield Worker(stage, keeper, heartbeat)


@plot()
def a_cancel_that_a_task_does_not_heed(stage: Stage) -> None:
    """A running job is cancelled, and its function listens to nobody: the worker has to kill it."""
    (job,) = stage.submit()
    with _worker(stage, SETTINGS.lease_seconds) as worker:
        running = worker.take(job)
        worker.heartbeat.start()
        with worker.running(running) as body:
            stage.operate(Call.CANCEL, job)
            worker.wait_for_end(running, body)


@plot(lease_seconds=0)
def a_worker_that_comes_back_late(stage: Stage) -> None:
    """A worker was cut off until its job was given to another, which does it; then it hears of that."""
    (job,) = stage.submit()
    with _worker(stage, 0.0) as worker:
        running = worker.take(job)
        with worker.running(running) as body:
            stage.rescue()
            stage.carry_out(job)
            worker.heartbeat.start()
            worker.wait_for_end(running, body)


@plot(drained=True)
def an_end_that_is_cut_off(stage: Stage) -> None:
    """The connection breaks while the worker reports a success; no beat runs that could take the job away."""
    (job,) = stage.submit()
    with stage.link() as link, _worker(stage, SETTINGS.lease_seconds, link) as worker:
        running = worker.take(job)
        link.cut(FINISH, When.BEFORE)
        worker.carry_out(running)


@plot(drained=True)
def a_start_that_is_cut_off(stage: Stage) -> None:
    """The connection breaks while the worker starts what a doorbell named; no beat runs that could ring again."""
    (job,) = stage.submit()
    with stage.link() as link, _worker(stage, SETTINGS.lease_seconds, link) as worker:
        link.cut(START, When.BEFORE)
        worker.ring(job)
        eventually(lambda: worker.keeper.launches or worker.keeper.dealt_with, SECONDS, "the doorbell was dealt with")
        while worker.keeper.launches:
            worker.carry_out(worker.keeper.launches.popleft())


@plot(lease_seconds=0, drained=True)
def a_dead_worker_beside_one_that_was_fenced(stage: Stage) -> None:
    """A job was taken from a worker that lives on, and given to one that dies: upkeep must notice."""
    (job,) = stage.submit()
    with _worker(stage, 0.0) as worker:
        running = worker.take(job)
        stage.rescue()
        assert stage.start(job, worker="worker-2")
        worker.heartbeat.start()
        eventually(lambda: running.fenced, SECONDS, "the first worker hears of it")
        stage.rescue()
        stage.carry_out(job)
