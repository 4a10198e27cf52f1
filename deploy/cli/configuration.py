"""`penstock config`: what the processes would be told here, where each setting comes from, and no secret."""

import os
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlsplit

import typer
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from api.settings import ApiSettings
from deploy.cli import options, screen
from deploy.cli.errors import CommandError
from deploy.flower.settings import FlowerSettings
from jobs.database import DatabaseSettings
from jobs.environment import FILE_SUFFIX, Settings, refuse_unknown, variables
from jobs.errors import ConfigurationError
from jobs.failpoints import FailPointSettings
from jobs.misconfiguration import told
from jobs.startup import StartSettings
from jobs.telemetry.logs import LogSettings
from jobs.telemetry.metrics import MetricsSettings
from jobs.telemetry.reports import ReportSettings
from jobs.telemetry.traces import TraceSettings
from schedules.settings import ScheduleSettings
from tasks.library.settings import HttpSettings, SmtpSettings
from tasks.settings import TaskSettings
from worker.settings import WorkerSettings

app = typer.Typer()

HIDDEN: Final = "***"


class Role(StrEnum):
    """Who reads settings."""

    API = "api"
    WORKER = "worker"
    BEAT = "beat"
    FLOWER = "flower"
    MIGRATE = "migrate"


_PROCESSES: Final = (Role.API, Role.WORKER, Role.BEAT)
READERS: Final[dict[type[Settings], tuple[Role, ...]]] = {
    DatabaseSettings: (*_PROCESSES, Role.MIGRATE),
    TaskSettings: (*_PROCESSES, Role.FLOWER),
    ApiSettings: (Role.API,),
    WorkerSettings: (Role.WORKER,),
    ScheduleSettings: (Role.BEAT,),
    FlowerSettings: (Role.FLOWER,),
    FailPointSettings: _PROCESSES,
    StartSettings: tuple(Role),
    LogSettings: _PROCESSES,
    MetricsSettings: _PROCESSES,
    TraceSettings: (Role.API, Role.WORKER),
    ReportSettings: _PROCESSES,
    HttpSettings: (Role.WORKER,),
    SmtpSettings: (Role.WORKER,),
}
"""Every settings class, and the processes that read it."""


class Setting(NamedTuple):
    """One setting as it is in force; `source` says where its value comes from."""

    variable: str
    value: str | None
    source: str


@app.command(
    rich_help_panel=options.OPERATIONS,
    epilog=options.examples("penstock config", "penstock config --role worker", "penstock config --json"),
)
def config(
    *,
    role: Annotated[Role | None, typer.Option(help="Only what this process reads. Default: all of them")] = None,
    json: options.AsJson = False,
) -> None:
    """Show the settings in force here, where each comes from, and no secret; exit code 2 for those that are wrong."""
    wrong: list[str] = []
    found = [one for settings in _read_by(role) for one in effective(settings, wrong)]
    try:
        refuse_unknown()
    except ConfigurationError as error:
        wrong.append(str(error))
    if json:
        for setting in found:
            screen.dump(setting._asdict())
    else:
        rows = ((one.variable, "unset" if one.value is None else one.value, one.source) for one in found)
        screen.table(("variable", "value", "source"), rows, empty="No settings.")
    if wrong:
        raise CommandError(wrong[0], details=wrong[1:])


def _read_by(role: Role | None) -> list[type[Settings]]:
    return [settings for settings, readers in READERS.items() if role is None or role in readers]


def effective(settings: type[Settings], wrong: list[str]) -> Iterator[Setting]:
    """Yield the settings of a class as they are in force; what is wrong with them is added to `wrong`."""
    try:
        values: Settings | None = settings()
    except ValidationError as error:
        values = None
        wrong.append(told(error))
    except ConfigurationError as error:
        values = None
        wrong.append(str(error))
    for name, field in settings.model_fields.items():
        variable, source = _source(settings, name, field)
        yield Setting(variable, _shown(getattr(values, name)) if values else None, source if values else "wrong")


def _source(settings: type[Settings], name: str, field: FieldInfo) -> tuple[str, str]:
    names = variables(settings, name, field)
    for one in names:
        if file := os.environ.get(one + FILE_SUFFIX):
            return one, f"file {file}"
        if os.environ.get(one):
            return one, "environment"
    return names[0], "default"


def _shown(value: Any) -> str | None:
    """Return a value as it would stand in the environment, its secrets hidden."""
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return redacted(value.get_secret_value())
    if isinstance(value, tuple | frozenset):
        return ",".join(sorted(map(str, value)) if isinstance(value, frozenset) else map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def redacted(secret: str) -> str:
    """Return what people may see of a secret: of a URL everything but what opens the door, of anything else nothing."""
    if "://" not in secret:
        return HIDDEN
    try:
        parts = urlsplit(secret)
    except ValueError:
        return HIDDEN
    login, at, place = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    if parts.scheme.startswith("http"):  # of Sentry the user is the key
        user, colon = "", colon or at
    shown = f"{user}{':' if colon and user else ''}{HIDDEN if colon else ''}"
    query = "&".join(
        f"{one.partition('=')[0]}={HIDDEN}" if "pass" in one.partition("=")[0].lower() else one
        for one in parts.query.split("&")
        if one
    )
    return f"{parts.scheme}://{shown}{at}{place}{parts.path}" + (f"?{query}" if query else "")
