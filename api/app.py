"""The API's composition root: settings, database, dispatch and routes become one ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from starlette.types import ASGIApp, Receive, Scope, Send

from api import openapi, problems
from api.edge import Edge
from api.fast_lane import FastLane
from api.gate import Gate
from api.group_commit import GroupCommit
from api.readiness import Readiness
from api.replays import replay
from api.routes import DirectRoute, dead_letters, events, jobs, operations
from api.routes import tasks as task_routes
from api.scrape import Scrape
from api.security import Doorman
from api.settings import ApiSettings
from api.submission import Intake
from api.waiting import Lookout
from jobs import upkeep
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.errors import ConfigurationError
from jobs.model import JobId
from jobs.release import release_version
from jobs.telemetry import logs
from jobs.telemetry.metrics import Instruments
from jobs.window import Backlog, Window
from tasks.app import celery_app, load_catalogue
from tasks.app import settings as task_settings
from tasks.dispatch import Dispatcher
from tasks.publisher import DoorbellPublisher
from tasks.settings import TaskSettings

METRICS: Final = (
    "http_requests",
    "http_request_seconds",
    "requests_refused",
    "jobs_accepted",
    "jobs_replayed",
    "group_commit_size",
    "commit_wait_seconds",
    "doorbells_rung",
    "doorbells_failed",
)
BATCHES_AT_ONCE: Final = 4
"""Batches that one process works on at the same time; each holds a connection."""


class Front(FastAPI):
    """FastAPI behind what every request meets first: its own layers cost as much as a whole refusal."""

    front: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        scope["app"] = self
        await (self.front or self.behind)(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what the front lets through and does not answer itself."""
        await super().__call__(scope, receive, send)


def _give_back(engine: Engine) -> Callable[[Sequence[JobId]], None]:
    def give_back(ids: Sequence[JobId]) -> None:
        with transaction(engine) as connection:
            upkeep.mark_unrung(connection, ids)

    return give_back


def create(settings: ApiSettings, database: DatabaseSettings, tasks: TaskSettings) -> Front:
    """Return the application; nothing connects before it starts."""
    if tasks.broker_url is None:
        raise ConfigurationError("BROKER_URL is not set: amqp://user:password@host:5672// or redis://host:6379/0.")
    url = tasks.broker_url.get_secret_value()
    engine = open_engine(database, application_name="penstock-api")
    writer = open_engine(database, application_name="penstock-intake", pool_size=BATCHES_AT_ONCE + 1, hot=True)
    instruments = Instruments(CollectorRegistry(), *METRICS)
    publisher = DoorbellPublisher(url, tasks.queues)
    dispatcher = Dispatcher(publisher, _give_back(engine), instruments)
    commits = GroupCommit(
        writer,
        dispatcher.ring,
        instruments,
        window=Window(writer, tasks.doorbell_window),
        backlog=Backlog(writer, settings.backlog_limit),
        group_limit=settings.group_limit,
        waiting_limit=settings.waiting_limit,
        longest_wait=settings.longest_wait_seconds,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        dispatcher.start()
        commits.start()
        yield
        await asyncio.to_thread(commits.close)
        await asyncio.to_thread(dispatcher.close)
        writer.dispose()
        engine.dispose()

    app = Front(
        title="Penstock",
        version=release_version(),
        description="Submit jobs over HTTP; they are durable when you read 202.",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,  # a redirect would be built from the Host header, and lose the body's method
    )
    app.state.settings = settings
    app.state.engine = engine
    app.state.commits = commits
    app.state.dispatcher = dispatcher
    app.state.batches = asyncio.Semaphore(BATCHES_AT_ONCE)
    app.state.intake = Intake(load_catalogue(celery_app, tasks), tasks.queues)
    app.state.lookout = Lookout(engine)
    app.state.doorman = Doorman(engine)
    app.state.readiness = Readiness(engine, url)
    app.state.scrape = Scrape(instruments.registry, engine)
    app.state.replays = partial(replay, engine)
    app.include_router(jobs.hot)
    for module in (jobs, events, dead_letters, task_routes, operations):
        app.include_router(module.router)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(Edge, instruments=instruments)
    fast = FastLane(app.behind, partial(Edge, instruments=instruments), jobs.hot.routes)
    lanes = {("POST", route.path): commits.verdict for route in jobs.hot.routes if isinstance(route, DirectRoute)}
    app.front = Gate(fast, lanes, instruments)
    return app


def create_app() -> Any:
    """Return the application for the settings of the environment; what uvicorn calls in each process."""
    logs.configure(logs.LogSettings(), role="api")
    return create(ApiSettings(), DatabaseSettings(), task_settings())
