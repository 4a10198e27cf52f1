"""The only Celery app, and the catalogue of what it can run. Nothing connects at import."""

from functools import cache
from typing import Any, Final, NoReturn

import structlog
from celery import Celery

from jobs.errors import ConfigurationError
from tasks import discovery
from tasks.catalogue import Catalogue, TaskSpec, describe
from tasks.settings import TaskSettings
from tasks.topology import EXCHANGE, job_queue, tls_options, transport_options

log = structlog.get_logger()

_CELERYS_OWN: Final = "celery."
"""The prefix of tasks that Celery registers for itself."""

_ALWAYS: Final[dict[str, Any]] = {
    "broker_heartbeat": 10,  # a half-open connection is noticed in under half a minute
    "broker_connection_timeout": 4,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # a worker that gives up quietly is a lost worker
    "broker_channel_error_retry": False,  # a refused declaration must be loud, not a loop
    "task_default_exchange": EXCHANGE.name,
    "task_create_missing_queues": False,  # a mistyped name would make a queue that nobody reads
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],  # pickle runs code
    "result_backend": None,  # PostgreSQL has the results
    "task_ignore_result": True,
    "task_acks_late": False,  # the lease protects a running job, not the channel
    "worker_prefetch_multiplier": 32,  # doorbells at hand, so that jobs can be started in batches
    "worker_enable_prefetch_count_reduction": False,  # after a reconnect it would halve the worker for long
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # the lease outlives the broker's connection
    "worker_hijack_root_logger": False,  # our own logging stays
    "worker_redirect_stdouts": False,  # jobs.telemetry.printed does, with the facts of the job on the line
    "worker_lost_wait": 0.2,  # a lost child is reported at once
    "worker_max_tasks_per_child": 10_000,  # bounds what leaks
    "worker_disable_rate_limits": True,  # Celery's are per process and forgotten at a restart
    "worker_enable_remote_control": True,  # Flower asks for pool and queues; nothing is decided by it
    "worker_send_task_events": False,  # they cost a third of a worker; Flower turns them on where it runs
    "worker_state_db": None,
    "worker_consumer": "worker.consumer:DoorbellConsumer",  # survives malformed messages
    "task_send_sent_event": False,
    "control_queue_expires": 60,
    "event_queue_expires": 60,
    "enable_utc": True,
    "timezone": "UTC",
    "beat_scheduler": "schedules.beat:JobScheduler",
}
"""Every option that is not Celery's default and is the same for all settings, each with its reason."""


def configuration(settings: TaskSettings) -> dict[str, Any]:
    """Return every option that is not Celery's default."""
    url = settings.broker_url.get_secret_value() if settings.broker_url else None
    return _ALWAYS | {
        "broker_url": url,
        "broker_use_ssl": tls_options(url, settings.broker_ca_file) if url else None,
        "broker_transport_options": transport_options(url) if url else {},
        "task_queues": [job_queue(name, settings.rabbitmq_queues) for name in settings.queues],
        "task_default_queue": settings.default_queue,
    }


class JobsApp(Celery):
    """Celery, but a name belongs to one function: Celery warns, and keeps whichever of two it meets first."""

    def _warn_duplicate_task_name(self, name: str, existing: str, new: str, _consequence: str) -> NoReturn:
        raise ConfigurationError(f"Two tasks are named {name}: {existing} and {new}.")


def build(settings: TaskSettings) -> Celery:
    """Return an app for these settings."""
    app = JobsApp("penstock", task_cls="tasks.job_task:JobTask", set_as_current=True)
    app.conf.update(configuration(settings))
    app.conf.include = discovery.task_modules(settings.task_modules)
    return app


@cache
def settings() -> TaskSettings:
    """Return the settings of this process."""
    return TaskSettings()


def load_catalogue(app: Celery, chosen: TaskSettings) -> Catalogue:
    """Import all task modules and return the tasks.

    Raises `ConfigurationError` for a module that is missing, a signature that cannot be a payload, or a
    task whose queue does not exist. A task that some other library brought along is left out instead.
    """
    ours = discovery.load(chosen.task_modules)
    app.finalize()
    specs = []
    for name, task in app.tasks.items():
        if name.startswith(_CELERYS_OWN):
            continue
        try:
            specs.append(_described(task, chosen))
        except ConfigurationError as error:
            if any(f"{task.__module__}.".startswith(f"{module}.") for module in ours):
                raise
            log.warning("task_left_out", task=name, reason=str(error))
    return Catalogue(specs)


def _described(task: Any, chosen: TaskSettings) -> TaskSpec:
    spec = describe(task, default_queue=chosen.default_queue)
    if spec.queue not in chosen.queues:
        raise ConfigurationError(
            f"Task {spec.name} names the queue {spec.queue!r}, which PENSTOCK_QUEUES does not list."
        )
    return spec


celery_app: Final = build(settings())
