"""The API's composition root: settings, database, dispatch and routes become one ASGI application."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, Self

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from sqlalchemy import Engine
from starlette.types import ASGIApp, Receive, Scope, Send

from api import openapi, problems
from api.connections import Doorway
from api.edge import Edge
from api.fast_lane import FastLane
from api.gate import Gate, Lane
from api.group_commit import GroupCommit
from api.leaving import leave_late, leave_with_parent
from api.line import Line
from api.lists import Lists
from api.patience import PATIENCE
from api.profiler import Profiler
from api.quota import Quotas
from api.readiness import Readiness
from api.replays import replay
from api.replica import Replica
from api.routes import dead_letters, diagnostics, events, jobs, operations, queues, schedules
from api.routes import tasks as task_routes
from api.routes.operations import READY_WITHIN
from api.scrape import Scrape
from api.security import Doorman
from api.settings import ApiSettings
from api.severing import severable
from api.stored import Stored
from api.submission import Intake
from api.waiting import Lookout
from jobs import failpoints, upkeep
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.misconfiguration import variable_of
from jobs.model import JobId
from jobs.release import release_version
from jobs.startup import look_at_database
from jobs.telemetry import logs, reports, traces
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import Instruments, instruments_of
from jobs.telemetry.pools import watch
from jobs.window import Backlog, Window
from tasks import startup
from tasks.app import celery_app, load_catalogue
from tasks.app import settings as task_settings
from tasks.dispatch import Dispatcher
from tasks.publisher import DoorbellPublisher
from tasks.settings import TaskSettings

BATCHES_AT_ONCE: Final = 4
"""Batches that one process works on at the same time; each holds a connection."""
KEYS_AT_ONCE: Final = 2
"""API keys that one process looks up at the same time."""
PROBES_AT_ONCE: Final = 2
"""Looks at readiness and metrics that one process takes at the same time. They, the keys and the readers who wait
have connections of their own: whoever works at the desk does not stand in their way."""


NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own spans tell paths and queries, and its logs bodies: ours are made in `api.traced`."""


class Front(FastAPI):
    """FastAPI behind what every request meets first: its own layers cost as much as a whole refusal."""

    front: Gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        scope["app"] = self
        await self.front(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what the front lets through and does not answer itself."""
        await super().__call__(scope, receive, send)


def _give_back(engine: Engine) -> Callable[[Sequence[JobId]], None]:
    def give_back(ids: Sequence[JobId]) -> None:
        with transaction(engine) as connection:
            upkeep.mark_unrung(connection, ids)

    return give_back


class Engines(NamedTuple):
    """Connections for each kind of work, so that none of it waits for another's."""

    desk: Engine
    """Reads, and changes of single jobs."""
    writer: Engine
    """Commits of submissions."""
    aside: Engine
    """What must be answered whatever the others do: keys, readiness, metrics, waiting readers, doorbells given back,
    and the length of the backlog."""

    @classmethod
    def of(cls, database: DatabaseSettings) -> Self:
        """Return engines that connect at their first use."""
        return cls(
            desk=open_engine(database, application_name="penstock-api"),
            writer=open_engine(database, application_name="penstock-intake", pool_size=BATCHES_AT_ONCE + 1, hot=True),
            aside=open_engine(database, application_name="penstock-aside", pool_size=KEYS_AT_ONCE + PROBES_AT_ONCE + 3),
        )


def create(
    settings: ApiSettings,
    database: DatabaseSettings,
    tasks: TaskSettings,
    *,
    traced: Any = None,
    parting: Sequence[Callable[[], None]] = (),
) -> Front:
    """Return the application; nothing connects before it starts. `traced` is `api.traced`, where traces are on.

    `parting` is done last, when the process stops.
    """
    url, ca_file = tasks.broker(), tasks.broker_ca_file
    engines = Engines.of(database)
    instruments = instruments_of(Process.API)
    replica = _replica(settings, database, instruments)
    for name, engine in engines._asdict().items():
        watch(engine, name, instruments)
    publisher = DoorbellPublisher(url, tasks.queues, tasks.rabbitmq_queues, ca_file)
    dispatcher = Dispatcher(publisher, _give_back(engines.aside), instruments)
    commits = _commits(settings, tasks, engines, dispatcher, instruments, traced)
    app = _front(_lifespan(engines, replica, dispatcher, commits, instruments, parting))
    app.state.settings = settings
    app.state.instruments = instruments
    app.state.commits = commits
    app.state.dispatcher = dispatcher
    app.state.readiness = Readiness(engines.aside, url, ca_file, replica)
    catalogue = load_catalogue(celery_app, tasks)
    app.state.intake = Intake(catalogue, tasks.queues)
    stored = Stored(engines.aside, [spec.name for spec in catalogue], tasks.queues)
    app.state.profiler = Profiler()
    app.state.scrape = Scrape(instruments.registry, stored)
    _furnish(app, engines, database, settings.longest_wait_seconds)
    app.state.lists = Lists(app.state.desk, engines.desk, replica, instruments["replica_reads"])
    app.state.replays = partial(traced.replay if traced else replay, engines.desk)
    _route(app, instruments, traced.TracedRequests if traced else None)
    return app


def _commits(
    settings: ApiSettings,
    tasks: TaskSettings,
    engines: Engines,
    dispatcher: Dispatcher,
    instruments: Instruments,
    traced: Any,
) -> GroupCommit:
    """Return what commits submissions and then rings for them."""
    kind: type[GroupCommit] = traced.TracedCommits if traced else GroupCommit
    return kind(
        engines.writer,
        dispatcher.ring,
        instruments,
        window=Window(engines.writer, tasks.doorbell_window, is_away=lambda: dispatcher.is_away),
        backlog=Backlog(engines.aside, settings.backlog_limit),
        group_limit=settings.group_limit,
        waiting_limit=settings.waiting_limit,
        longest_wait=settings.longest_wait_seconds,
    )


def _front(lifespan: Callable[[Front], AbstractAsyncContextManager[dict[str, Any]]]) -> Front:
    """Return the application before it has routes."""
    return Front(
        title="Penstock",
        version=release_version(),
        description="Submit jobs over HTTP; they are durable when you read 202.",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        telemetry=NO_TELEMETRY,
        redirect_slashes=False,  # a redirect would be built from the Host header, and lose the body's method
    )


def _replica(settings: ApiSettings, database: DatabaseSettings, instruments: Instruments) -> Replica | None:
    """Return the replica, where there is one."""
    url = settings.database_replica_url
    if url is None:
        return None
    replica = Replica(url, database, lag_seconds=settings.replica_lag_seconds, instruments=instruments)
    watch(replica.engine, "replica", instruments)
    return replica


def _lifespan(
    engines: Engines,
    replica: Replica | None,
    dispatcher: Dispatcher,
    commits: GroupCommit,
    instruments: Instruments,
    parting: Sequence[Callable[[], None]],
) -> Callable[[Front], AbstractAsyncContextManager[dict[str, Any]]]:
    every = [*engines, *(replica.engines if replica else ())]
    hang_up = [severable(engine) for engine in every]

    @asynccontextmanager
    async def lifespan(app: Front) -> AsyncIterator[dict[str, Any]]:
        dispatcher.start()
        commits.start()
        if replica:
            replica.start()
        settings = app.state.settings
        limits = (settings.connections_limit, settings.receive_timeout_seconds)
        doorway = app.state.doorway = Doorway(*limits, app.front, app.state.lookout, instruments)
        doorway.sweep()
        leave_late(app.state.readiness, settings.api_drain_seconds)
        leave_with_parent()
        yield {"doorway": doorway}
        doorway.close()
        app.state.profiler.close()
        await asyncio.to_thread(commits.close)
        await asyncio.to_thread(dispatcher.close)
        for sever in hang_up:
            sever()
        if replica:
            await asyncio.to_thread(replica.close)
        for engine in every:
            engine.dispose()
        for last in parting:
            await asyncio.to_thread(last)

    return lifespan


def _furnish(app: Front, engines: Engines, database: DatabaseSettings, longest_wait: float) -> None:
    """Put where the routes find it what stands between them and PostgreSQL."""
    line = partial(Line, longest_wait=longest_wait, patience=database.database_acquire_timeout_seconds)
    timeouts = app.state.instruments["pool_timeouts"].labels
    app.state.engine = engines.desk
    app.state.desk = line(database.database_pool_size, timeouts=timeouts("desk"))
    app.state.batches = line(BATCHES_AT_ONCE, patience=PATIENCE, timeouts=timeouts("writer"))
    app.state.aside = Line(PROBES_AT_ONCE, patience=READY_WITHIN, timeouts=timeouts("aside"))
    app.state.lookout = Lookout(engines.aside, app.state.settings.readers_limit)
    app.state.doorman = Doorman(engines.aside, line(KEYS_AT_ONCE, timeouts=timeouts("aside")))
    quota = app.state.settings.requests_per_minute
    app.state.quotas = Quotas(quota) if quota else None


def _route(app: Front, instruments: Instruments, traced: Callable[[ASGIApp], ASGIApp] | None) -> None:
    """Lead each request past the gate to its route."""
    app.include_router(jobs.hot)
    for module in (jobs, events, dead_letters, queues, schedules, task_routes, operations, diagnostics):
        app.include_router(module.router)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(Edge, instruments=instruments)
    settings, commits, batches = app.state.settings, app.state.commits, app.state.batches
    one = Lane([commits.verdict], "/api/v1/jobs", settings.body_limit_bytes)
    many = Lane([commits.verdict, batches.verdict], "/api/v1/jobs/batch", settings.batch_limit_bytes)
    served: ASGIApp = FastLane(app.behind, partial(Edge, instruments=instruments), jobs.hot.routes)
    app.front = Gate(
        traced(served) if traced else served,
        (one, many),
        Lane([app.state.desk.verdict]),
        instruments,
        bodies_limit=settings.bodies_limit_bytes,
    )


def create_app() -> Any:
    """Return the application for the settings of the environment; what uvicorn calls in each process."""
    logs.configure(logs.LogSettings(), role="api")
    failpoints.arm(failpoints.FailPointSettings())
    reporting = reports.begin("api", reports.ReportSettings())
    traced = traces.part("api.traced", traces.TraceSettings())
    parting = [part.close for part in (traced, reporting) if part is not None]
    app = create(ApiSettings(), DatabaseSettings(), task_settings(), traced=traced, parting=parting)
    # What was loaded by now stays. To go through it again and again stopped the event loop for 0.2 s each time.
    gc.collect()
    gc.freeze()
    return app


def wait_for_servers() -> None:
    """Return when PostgreSQL is there; broker and replica may be away, for jobs are accepted without them.

    Raises `ConfigurationError` for a broker or a replica that refuses us, and `Unavailable`.
    """
    database, url = DatabaseSettings(), ApiSettings().database_replica_url
    also = []
    if url is not None:
        variable = variable_of(ApiSettings, "database_replica_url")
        copy = database.model_copy(update={"database_url": url})
        look = look_at_database(copy, is_migrated=False, is_written=False, variable=variable)
        also = [look._replace(is_optional=True)]
    startup.wait_for_servers(database, task_settings(), without_broker=True, also=also)
