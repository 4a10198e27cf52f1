"""Beat's composition root."""

import time
from typing import Any, Final

from celery import Celery, signals
from prometheus_client import CollectorRegistry

from jobs.database import DatabaseSettings, open_engine
from jobs.errors import ConfigurationError
from jobs.telemetry import logs
from jobs.telemetry.metrics import Instruments
from jobs.telemetry.monitor import serve
from schedules.settings import ScheduleSettings
from schedules.upkeep import Upkeep
from tasks.app import celery_app, settings
from tasks.publisher import DoorbellPublisher
from tasks.settings import TaskSettings

METRICS: Final = ("upkeep", "upkeep_seconds")
STALE_AFTER: Final = 30.0
"""Seconds without a finished round after which beat is not ready."""


def compose(app: Celery, chosen: ScheduleSettings, tasks: TaskSettings, database: DatabaseSettings) -> Celery:
    """Give the app its upkeep. Raises `ConfigurationError` without a broker."""
    if tasks.broker_url is None:
        raise ConfigurationError("BROKER_URL is not set: amqp://user:password@host:5672// or redis://host:6379/0.")
    url = tasks.broker_url.get_secret_value()
    instruments = Instruments(CollectorRegistry(), *METRICS)
    upkeep = Upkeep(
        engine=open_engine(database, application_name="penstock-beat", pool_size=2),
        publisher=DoorbellPublisher(url, tasks.queues),
        broker_url=url,
        queues=tasks.queues,
        window=tasks.doorbell_window,
        settings=chosen,
        instruments=instruments,
    )
    app.penstock_upkeep = upkeep  # type: ignore[attr-defined]  # how the scheduler, which Celery makes, finds it

    @signals.beat_init.connect(weak=False)
    def on_start(**_: Any) -> None:
        if chosen.beat_metrics_port:

            def check() -> dict[str, bool]:
                return {"upkeep": time.monotonic() - upkeep.last_round_at < STALE_AFTER}

            serve(chosen.beat_metrics_host, chosen.beat_metrics_port, instruments.registry, check)

    return app


def _keep_our_logging(**_: Any) -> None:
    """Have Celery set up no logging: it does so only when nobody receives this signal."""


def run() -> None:
    """Run beat until it is told to stop."""
    signals.setup_logging.connect(_keep_our_logging, weak=False)
    logs.configure(logs.LogSettings(), role="beat")
    app = compose(celery_app, ScheduleSettings(), settings(), DatabaseSettings())
    # Not through Celery's command line: importing it, with Flower and all its friends, takes a second.
    app.Beat(loglevel="INFO", quiet=True).run()
