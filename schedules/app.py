"""Beat's composition root."""

import atexit
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import Celery, signals
from sqlalchemy import Engine

from jobs import failpoints, registry
from jobs.database import DatabaseSettings, open_engine
from jobs.model import Taken
from jobs.telemetry import logs, reports, traces
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
from jobs.telemetry.monitor import serve
from jobs.telemetry.pools import watch
from jobs.telemetry.process import tell_facts
from schedules.code import declarations
from schedules.firing import Firing
from schedules.pulse import Pulse
from schedules.readiness import STALE_AFTER, Readiness
from schedules.ringing import Ringing
from schedules.settings import ScheduleSettings
from schedules.upkeep import Upkeep
from tasks import discovery
from tasks.app import celery_app, settings
from tasks.publisher import DoorbellPublisher
from tasks.settings import TaskSettings
from tasks.startup import wait_for_servers

_KEPT: Final = "penstock_pulse"
"""The attribute of the app by which the scheduler, which Celery makes, finds its pulse."""


def compose(app: Celery, chosen: ScheduleSettings, tasks: TaskSettings, database: DatabaseSettings) -> Pulse:
    """Give the app its pulse. Raises `ConfigurationError` without a broker."""
    url = tasks.broker()
    instruments = instruments_of(Process.BEAT)
    tell_facts(instruments.registry)
    engine = open_engine(database, application_name=registry.BEAT, pool_size=2)
    watch(engine, "beat", instruments)
    # A round may come as late as the longest pause after the one before.
    readiness = Readiness(stale_after=STALE_AFTER + 2 * chosen.upkeep_seconds)
    ringing = Ringing(
        engine=engine,
        publisher=DoorbellPublisher(url, tasks.queues, tasks.rabbitmq_queues, tasks.broker_ca_file),
        queues=tasks.queues,
        window=tasks.doorbell_window,
        settings=chosen,
        instruments=instruments,
        readiness=readiness,
    )
    shared: Any = {"engine": engine, "settings": chosen, "instruments": instruments, "readiness": readiness}
    upkeep = Upkeep(ringing=ringing, on_lost=_tracer_of_lost(engine), **shared)
    monitors = reports.part("schedules.check_ins", reports.ReportSettings())
    check_in = monitors.check_in if monitors else None
    firing = Firing(check_in=check_in, **shared)
    pulse = Pulse(
        engine=engine,
        firing=firing,
        upkeep=upkeep,
        tasks=tasks,
        longest_pause=chosen.upkeep_seconds,
        readiness=readiness,
    )
    setattr(app, _KEPT, pulse)

    @signals.beat_init.connect(weak=False)
    def on_start(**_: Any) -> None:
        if chosen.beat_metrics_port:
            serve(chosen.beat_metrics_host, chosen.beat_metrics_port, instruments.registry, readiness.look)

    return pulse


def _tracer_of_lost(engine: Engine) -> Callable[[Sequence[Taken]], None]:
    """Return what gives lost attempts their spans, where traces are on."""
    traced = traces.part("schedules.traced", traces.TraceSettings())
    if traced is None:
        return lambda _: None
    lost = traced.Lost(engine)
    atexit.register(lost.close)  # Celery, which may run this beat for others, tells nobody of its end
    tell: Callable[[Sequence[Taken]], None] = lost.tell
    return tell


def pulse_of(app: Celery) -> Pulse:
    """Return the pulse of the app, composed by the settings of the environment where nobody has done so yet."""
    found = getattr(app, _KEPT, None)
    return found if isinstance(found, Pulse) else compose(app, ScheduleSettings(), settings(), DatabaseSettings())


def _keep_our_logging(**_: Any) -> None:
    """Have Celery set up no logging: it does so only when nobody receives this signal."""


def run() -> None:
    """Run beat until it is told to stop."""
    signals.setup_logging.connect(_keep_our_logging, weak=False)
    logs.configure(logs.LogSettings(), role="beat")
    reports.begin("beat", reports.ReportSettings())
    failpoints.arm(failpoints.FailPointSettings())
    chosen, tasks, database = ScheduleSettings(), settings(), DatabaseSettings()
    discovery.load(tasks.task_modules)  # before Celery imports them, which looks in fewer places
    declarations(celery_app, tasks)  # what waiting cannot cure is told before anybody waits
    wait_for_servers(database, tasks)
    compose(celery_app, chosen, tasks, database)
    # Not through Celery's command line: importing it, with Flower and all its friends, takes a second.
    celery_app.Beat(loglevel="INFO", quiet=True).run()
