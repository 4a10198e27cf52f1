"""Where the keeper is hooked into Celery's worker: two bootsteps, one for the process, one for each connection.

Celery documents bootsteps under "Extensions and Bootsteps". The process's step lives as long as the
worker; the connection's step is started anew after each reconnect.
"""

import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from amqp.exceptions import NotFound
from billiard.einfo import ExceptionInfo
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery import bootsteps
from celery.worker import state

from jobs.errors import DatabaseUnavailable
from jobs.failpoints import passed, reached
from jobs.model import Attempt, Failure
from jobs.state import Event, Outcome
from jobs.telemetry import logs
from worker.admission import Doorbell
from worker.ears import Deaf, Ears
from worker.execution import Ending, How, run_attempt
from worker.keeper import PAUSE_AFTER_OUTAGE, Keeper
from worker.running import Running, Settled

log = structlog.get_logger()

SATURATED_FOR: Final = 1.0
"""Seconds without a free slot after which a worker stops listening, so that others get the doorbells."""

RECALL_AFTER: Final = 2.0
"""Seconds that an attempt started ahead may wait for a slot."""


class Bell:
    """Wakes an event loop from another thread."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._writer.setblocking(False)  # noqa: FBT003 - the same

    def fileno(self) -> int:
        """Return what the event loop watches."""
        return self._reader.fileno()

    def ring(self) -> None:
        """Wake the loop; a bell that is ringing already is enough."""
        try:
            self._writer.send(b"!")
        except BlockingIOError:
            return

    def silence(self) -> None:
        """Take all that was rung."""
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            return


class LaunchStep(bootsteps.StartStopStep):  # type: ignore[misc]  # typed as Any: its stubs miss what we need
    """Brings attempts from the keeper to the pool, and their endings back, inside Celery's event loop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        """Take the keeper of this worker."""
        super().__init__(consumer, **options)
        self._keeper: Keeper = consumer.controller.keeper
        self._ears: Ears = consumer.controller.ears
        self._bell: Bell = consumer.controller.bell
        self._in_pool: set[Running] = set()
        self._listening = True
        self._saturated_since: float | None = None

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """Watch the bell; Celery calls this for each new connection."""
        self._listening = True
        self._saturated_since = None
        self._ears.excused()
        hub.add_reader(self._bell.fileno(), self._on_bell, consumer)
        hub.call_repeatedly(0.25, self._on_tick, consumer)
        self._bell.ring()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Forget the doorbells of a connection that is gone: the broker hands them out again."""
        self._keeper.forget_waiting()
        self._keeper.dealt_with.clear()

    def _on_bell(self, consumer: Any) -> None:
        self._bell.silence()
        keeper = self._keeper
        self._launch(consumer)
        while keeper.dealt_with:
            self._acknowledge(consumer, keeper.dealt_with.popleft())
        teller = _teller(consumer)
        keeper.watched = teller is not None
        while keeper.settled:
            _show(teller, keeper.settled.popleft())
        if not self._listening:
            self._mind_saturation(consumer)

    def _acknowledge(self, consumer: Any, doorbell: Doorbell) -> None:
        """Let a doorbell go. When that fails for a reason that nobody foresaw, the broker repeats it, to no effect."""
        try:
            reached("start.acknowledge")
            doorbell.acknowledge()
            passed("start.acknowledge")
        except (*consumer.connection_errors, *consumer.channel_errors):
            raise  # they end the connection, and the next one is well
        except Exception:
            log.exception("doorbell_not_acknowledged")

    def _launch(self, consumer: Any) -> None:
        """Hand attempts to the pool while a slot is free; those started ahead wait here, where they can be recalled."""
        keeper = self._keeper
        while len(self._in_pool) < keeper.slots:
            try:
                running = keeper.launches.popleft()
            except IndexError:  # asked for first, it could be gone: a drain takes from the same queue in a thread
                return
            if running.ending is None:
                self._in_pool.add(running)
                launch(keeper, consumer.pool, running, _teller(consumer), partial(self._on_free, consumer))

    def _on_free(self, consumer: Any, running: Running) -> None:
        """Use a slot again at once; in a pool of threads this is called from one of them, so only ring there."""
        self._in_pool.discard(running)
        if not self._keeper.launches:
            return
        if threading.current_thread() is threading.main_thread():
            self._launch(consumer)
        else:
            self._bell.ring()

    def _recall(self) -> None:
        """Give back what was started ahead and has waited for too long behind a job that turned out slow."""
        late = time.monotonic() - RECALL_AFTER
        waiting = [running for running in list(self._keeper.launches) if running.since < late]
        self._keeper.give_back(waiting)

    def _on_tick(self, consumer: Any) -> None:
        """Notice dead children, and mind whether we listen and hear."""
        maintain = getattr(consumer.pool, "maintain_pool", None)
        if maintain is not None:
            maintain()  # Celery does so every few seconds; a lost child should be told at once
        self._recall()
        self._mind_saturation(consumer)
        self._mind_deafness(consumer)

    def _mind_deafness(self, consumer: Any) -> None:
        """Give up a connection that leads to nothing. Raises `Deaf`, upon which Celery connects anew."""
        if consumer.connection is None or not self._listening or not self._keeper.has_room:
            self._ears.excused()
        elif self._ears.are_deaf:
            self._ears.restarted()
            consumer.controller.instruments["consumer_restarts"].inc()
            log.error("worker_deaf", seconds=self._ears.seconds, then="connects anew")
            raise Deaf("Jobs wait, a slot is free, and nothing is started.")

    def _mind_saturation(self, consumer: Any) -> None:
        """Stop listening while all slots are held by long jobs, and listen again when one is free."""
        if consumer.connection is None:
            return
        if self._keeper.saturated:
            now = time.monotonic()
            self._saturated_since = self._saturated_since or now
            if self._listening and now - self._saturated_since >= SATURATED_FOR:
                consumer.task_consumer.cancel()
                self._listening = False
                for doorbell in self._keeper.forget_waiting():
                    doorbell.requeue()
            return
        self._saturated_since = None
        if not self._listening and self._keeper.has_room:
            self._listen(consumer)

    def _listen(self, consumer: Any) -> None:
        """Listen again. Raises `ConnectionResetError` when a queue is gone: the next connection declares it.

        From a timer kombu lets nothing else through, and this connection's channel is closed by now.
        """
        try:
            consumer.task_consumer.consume()
        except NotFound as error:
            raise ConnectionResetError("A queue that we listened to is gone.") from error
        self._listening = True


Teller = Callable[..., None]


def _teller(consumer: Any) -> Teller | None:
    """Return what sends events to monitors; None: nobody wants them."""
    dispatcher = consumer.event_dispatcher
    return dispatcher.send if dispatcher and dispatcher.tells_of_jobs else None


def launch(keeper: Keeper, pool: Any, running: Running, tell: Teller | None, free: Callable[[Running], None]) -> None:
    """Hand an attempt to the pool; `free` is called when the pool is done with it."""
    attempt = running.attempt
    job_id = str(attempt.job_id)
    if tell:
        introduce(tell, attempt)

    def on_accepted(pid: int, _since: float) -> None:
        reached("attempt.accept")
        keeper.accepted(running, pid)
        passed("attempt.accept")
        if tell:
            tell("task-started", uuid=job_id)

    def on_returned(ending: Ending) -> None:
        _hand_over(keeper, running, ending, "attempt.end")
        free(running)

    def on_lost(info: ExceptionInfo) -> None:
        _hand_over(keeper, running, _ending_of_process(info), "attempt.lose")
        free(running)

    soft, hard = limits(running, pool)
    try:
        reached("attempt.launch")
        pool.apply_async(
            run_attempt,
            args=(attempt,),
            accept_callback=on_accepted,
            callback=on_returned,
            error_callback=on_lost,
            soft_timeout=soft,
            timeout=hard,
            correlation_id=job_id,
        )
        passed("attempt.launch")
    except Exception:
        log.exception("launch_failed", **logs.facts_of(attempt))
        keeper.give_back([running])
        free(running)


def introduce(tell: Teller, attempt: Attempt) -> None:
    """Tell monitors of an attempt that is about to run.

    Celery's monitors hold a job that was started, or has failed, to be so until they hear of a retry. Nobody told them
    of one where the attempt before was lost with its worker, or where an operator sends a failed job to work again.
    """
    job_id = str(attempt.job_id)
    if attempt.number > 1 and not attempt.error_count:
        tell("task-retried", uuid=job_id, exception="", traceback="")
    about = {"name": attempt.task, "args": "()", "kwargs": "{...}", "retries": attempt.error_count}
    tell("task-received", uuid=job_id, root_id=job_id, parent_id=None, eta=None, expires=None, **about)


def _hand_over(keeper: Keeper, running: Running, ending: Ending, point: str) -> None:
    """Have the end of an attempt settled; when that fails, leave the attempt to its lease.

    The pool would only write the error down, and the lease of an attempt that nobody runs would be extended for ever.
    """
    try:
        reached(point)
        keeper.ended(running, ending)
        passed(point)
    except Exception:
        log.exception("ending_not_taken", **logs.facts_of(running.attempt))
        keeper.let_go([running])


def limits(running: Running, pool: Any) -> tuple[float | None, float | None]:
    """Return the soft and the hard limit of an attempt in seconds: the job's own, else the task's."""
    attempt = running.attempt
    task = pool.app.tasks.get(attempt.task)
    soft = attempt.soft_time_limit_seconds or (task.soft_time_limit if task else None)
    hard = attempt.time_limit_seconds or (task.time_limit if task else None)
    if soft and hard and soft >= hard:  # a job's own hard limit may lie below its task's soft one
        soft = None
    return soft, hard


def _ending_of_process(info: ExceptionInfo) -> Ending:
    """Return the ending of an attempt whose process did not live to tell it."""
    error = info.exception
    error = getattr(error, "exc", error)
    if isinstance(error, TimeLimitExceeded):
        return Ending(How.TIMED_OUT, failure=Failure("TimeLimitExceeded", "The hard time limit ended the process."))
    if isinstance(error, SoftTimeLimitExceeded):  # it struck between the task's end and the word of it
        return Ending(How.TIMED_OUT, failure=Failure("SoftTimeLimitExceeded", "The soft time limit ended the attempt."))
    return Ending(How.LOST, failure=Failure("WorkerLost", f"The process that ran the job died: {error}"[:1000]))


def _show(tell: Teller | None, settled: Settled) -> None:
    """Tell monitors what became of an attempt: what the database has accepted, not what a child believed."""
    if tell is None or settled.verdict is None:
        return
    job_id, verdict = str(settled.running.attempt.job_id), settled.verdict
    seconds = time.monotonic() - settled.running.since
    error = verdict.failure.type if verdict.failure else ""
    match verdict.event:
        case Event.SUCCEED:
            tell("task-succeeded", uuid=job_id, result="{...}", runtime=seconds)
        case Event.RETRY | Event.RESCUE | Event.RELEASE:
            tell("task-retried", uuid=job_id, exception=error, traceback="")
        case Event.CANCEL:
            tell("task-revoked", uuid=job_id, terminated=True, signum=None, expired=False)
        case _:
            reason = f"{error} ({verdict.reason})" if verdict.outcome is not Outcome.SUCCEEDED else ""
            tell("task-failed", uuid=job_id, exception=reason, traceback="")


class KeeperStep(bootsteps.StartStopStep):  # type: ignore[misc]  # the same
    """Starts the keeper and its heartbeat before the pool, and lets them finish after it."""

    requires = ("celery.worker.components:Hub",)

    def __init__(self, worker: Any, **options: Any) -> None:
        """Hang the parts on the worker, where the consumer finds them."""
        super().__init__(worker, **options)
        parts = worker.app.penstock_parts(worker)
        worker.keeper, worker.heartbeat, worker.instruments = parts.keeper, parts.heartbeat, parts.instruments
        worker.ears, worker.drain = parts.ears, parts.drain
        worker.bell = Bell()
        worker.keeper.wake = worker.bell.ring
        self._parts = parts

    def start(self, worker: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Start the threads and enter the worker among the living; PostgreSQL is waited for."""
        while not self._has_announced():
            state.maybe_shutdown()
            time.sleep(PAUSE_AFTER_OUTAGE)  # nothing runs yet that could be held up
        self._parts.keeper.start()
        self._parts.heartbeat.start()

    def close(self, worker: Any) -> None:
        """Begin the drain, however the worker comes to end: the pool waits for what runs, and without a bound."""
        worker.drain.begin()

    def _has_announced(self) -> bool:
        try:
            self._parts.presence.announce()
        except DatabaseUnavailable:
            log.warning("database_unavailable", doing="announce")
            return False
        return True
