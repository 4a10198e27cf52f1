"""The worker's composition root: settings, database, keeper and Celery become one process."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from amqp import method_framing
from billiard.util import get_logger
from celery import Celery, signals
from celery.apps import worker as celerys

from jobs import failpoints
from jobs.database import DatabaseSettings, open_engine
from jobs.errors import ConfigurationError
from jobs.telemetry import logs, printed, reports, traces
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import Instruments, instruments_of
from jobs.telemetry.monitor import serve
from jobs.telemetry.pools import watch
from jobs.telemetry.process import tell_facts
from tasks import discovery
from tasks.app import celery_app, load_catalogue
from tasks.app import settings as task_settings
from tasks.catalogue import Catalogue
from tasks.library.settings import HttpSettings, SmtpSettings
from tasks.settings import TaskSettings
from tasks.startup import wait_for_servers
from tasks.topology import is_redis
from worker import pool_process
from worker.drain import Drain
from worker.ears import Ears
from worker.heartbeat import Heartbeat
from worker.keeper import Keeper
from worker.ledger import Ledger
from worker.presence import Presence
from worker.processes import Processes
from worker.settings import WorkerSettings
from worker.steps import KeeperStep, LaunchStep
from worker.strangers import StrangersMessage
from worker.threads import DrainStep, Threads, end_with

#: By its name: a worker tells monitors what it is connected with, in JSON, which has no classes.
_LIST_TRANSPORT: Final = "worker.redis_lists:ListTransport"

#: Celery's own lines about what we tell ourselves, and with better facts.
_QUIET: Final = ("celery.app.trace", "celery.worker.strategy")


@dataclass
class Parts:
    """What one worker process is made of."""

    keeper: Keeper
    heartbeat: Heartbeat
    drain: Drain
    ears: Ears
    instruments: Instruments
    presence: Presence


def assemble(
    chosen: WorkerSettings,
    database: DatabaseSettings,
    app: Celery,
    catalogue: Catalogue,
    queues: Sequence[str],
    traced: Any,
) -> Parts:
    """Make the parts of a worker; nothing connects yet."""
    brief = _within_a_lease(database, chosen.lease_seconds)
    pool_process.enter(_surroundings(chosen, brief, app, catalogue, traced))
    instruments = instruments_of(Process.WORKER)
    tell_facts(instruments.registry)
    keeper = _keeper(chosen, database, catalogue, instruments)
    if traced:
        keeper.killed = traced.killed
    pulse = open_engine(brief, application_name="penstock-heartbeat", pool_size=1, hot=True)
    watch(pulse, "heartbeat", instruments)
    ears = Ears(chosen.deaf_seconds)
    keeper.claimed = ears.claimed
    heartbeat = Heartbeat(keeper, pulse, chosen, ears, lambda: tuple(app.amqp.queues.consume_from))
    presence = Presence(
        pulse,
        chosen.node(),
        queues=queues,
        tasks=[spec.name for spec in catalogue],
        slots=chosen.worker_concurrency,
    )
    return Parts(keeper, heartbeat, Drain(keeper, chosen.drain_seconds), ears, instruments, presence)


def _surroundings(
    chosen: WorkerSettings, database: DatabaseSettings, app: Celery, catalogue: Catalogue, traced: Any
) -> pool_process.PoolProcess:
    """Return what the code that runs tasks finds around it."""
    return pool_process.PoolProcess(
        app=app,
        catalogue=catalogue,
        result_limit_bytes=chosen.result_limit_bytes,
        open_database=lambda: open_engine(database, application_name="penstock-task", pool_size=1),
        traced=traced.attempt if traced else None,
    )


def _keeper(
    chosen: WorkerSettings, database: DatabaseSettings, catalogue: Catalogue, instruments: Instruments
) -> Keeper:
    """Return a keeper with connections of its own, which shows how many of its slots are busy."""
    engine = open_engine(database, application_name="penstock-worker", pool_size=2, hot=True)
    watch(engine, "keeper", instruments)
    name = chosen.node()
    keeper = Keeper(
        worker=name,
        ledger=Ledger(engine, name, timedelta(seconds=chosen.lease_seconds)),
        slots=chosen.worker_concurrency,
        catalogue=catalogue,
        instruments=instruments,
    )
    instruments["slots_busy"].set_function(lambda: keeper.busy)
    return keeper


def _within_a_lease(database: DatabaseSettings, lease_seconds: float) -> DatabaseSettings:
    """Return settings by which a silent link is noticed while there is time to extend the lease over a new one.

    A lease of less than six seconds is too short for that: a healthy server is given two seconds all the same.
    """
    share = max(1.0, lease_seconds / 6)
    return database.model_copy(
        update={
            "database_statement_timeout_seconds": min(database.database_statement_timeout_seconds, share),
            "database_answer_seconds": min(database.database_answer_seconds, share),
        }
    )


def compose(app: Celery, chosen: WorkerSettings, tasks: TaskSettings, database: DatabaseSettings) -> Celery:
    """Hook the parts into Celery's worker and return the app. Raises `ConfigurationError` for what cannot work."""
    parts: list[Parts] = []
    catalogue, queues = load_catalogue(app, tasks), chosen.worker_queues or tasks.queues
    traced, parting = _telling(runs_here=chosen.worker_pool == "threads")

    def make(_worker: Any) -> Parts:
        parts[:] = [assemble(chosen, database, app, catalogue, queues, traced)]
        return parts[0]

    @signals.worker_ready.connect(weak=False)
    def on_ready(sender: Any, **_: Any) -> None:
        if chosen.worker_metrics_port:
            check = _check(sender, parts[0])
            serve(chosen.worker_metrics_host, chosen.worker_metrics_port, parts[0].instruments.registry, check)

    @signals.worker_shutting_down.connect(weak=False)
    def on_stopping(**_: Any) -> None:
        parts[0].drain.begin()

    @signals.worker_shutdown.connect(weak=False)
    def on_stopped(**_: Any) -> None:
        parts[0].keeper.close()
        parts[0].heartbeat.close()
        parts[0].presence.leave()
        for last in parting:
            last()

    if is_redis(str(app.conf.broker_url)):
        app.conf.broker_transport = _LIST_TRANSPORT  # survives what was pushed into the lists by hand
    method_framing.Message = StrangersMessage  # type: ignore[misc]  # what py-amqp makes of each message that comes
    app.events.dispatcher_cls = "worker.events:EventPost"
    app.penstock_parts = make  # type: ignore[attr-defined]  # how the step, which Celery makes, finds its parts
    app.steps["worker"].update({KeeperStep, DrainStep})
    app.steps["consumer"].add(LaunchStep)
    return app


def _telling(*, runs_here: bool) -> tuple[Any, list[Callable[..., None]]]:
    """Begin to trace and to report, where that is on; return the module that traces, and what is done last.

    That is done in each process of the pool as well.
    """
    reporting = reports.begin("worker", reports.ReportSettings())
    traced = traces.part("worker.traced", traces.TraceSettings())
    if traced:
        traced.install()
        traced.begin(is_global=runs_here)
    parting = [module.close for module in (reporting, traced) if module is not None]
    for last in parting:
        signals.worker_process_shutdown.connect(last, weak=False)
    return traced, parting


def _check(consumer: Any, parts: Parts) -> Callable[[], dict[str, bool]]:
    def check() -> dict[str, bool]:
        return {
            "broker": bool(consumer.connection and consumer.connection.connected),
            "postgresql": parts.heartbeat.is_beating,
            "keeper": parts.keeper.is_alive,
            "accepting": not parts.keeper.draining,
        }

    return check


def _keep_our_logging(**_: Any) -> None:
    """Have Celery set up no logging: it does so only when nobody receives this signal."""


def run() -> int:
    """Run a worker until it is told to stop and return its exit status.

    Raises `ConfigurationError` for settings it cannot start with.
    """
    signals.setup_logging.connect(_keep_our_logging, weak=False)
    get_logger().propagate = True  # billiard's, which tells of dead children: it keeps its lines to itself
    logs.configure(logs.LogSettings(), role="worker")
    failpoints.arm(failpoints.FailPointSettings())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    chosen, tasks, database = WorkerSettings(), task_settings(), DatabaseSettings()
    HttpSettings(), SmtpSettings()  # read again by each job: what is wrong with them must not wait for the first
    unknown = set(chosen.worker_queues) - set(tasks.queues)
    if unknown:
        raise ConfigurationError(
            f"PENSTOCK_WORKER_QUEUES names {sorted(unknown)}, which PENSTOCK_QUEUES does not list."
        )
    discovery.load(tasks.task_modules)  # before Celery does: its own words for a missing module are a bare trace
    app = compose(celery_app, chosen, tasks, database)  # before anybody waits: it may refuse what no waiting cures
    wait_for_servers(database, tasks)
    # Not through Celery's command line: importing it, with Flower and all its friends, takes a second.
    worker = app.Worker(
        hostname=chosen.node(),
        concurrency=chosen.worker_concurrency,
        pool_cls=Threads if chosen.worker_pool == "threads" else Processes,
        queues=chosen.worker_queues or tasks.queues,
        without_gossip=True,
        without_mingle=True,
        loglevel="INFO",
        quiet=True,
    )
    if printed.redirect(logs.LogSettings()):  # not before: a worker that cannot start says why in plain words
        celerys.safe_say = printed.say_at_once  # type: ignore[attr-defined]  # how Celery tells of a signal; the stubs are older
    worker.start()
    code = int(worker.exitcode or 0)
    if isinstance(worker.pool, Threads) and worker.pool.is_left_running:
        end_with(code)
    return code
