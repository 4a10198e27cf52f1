"""`penstock config`: what the processes would be told here, where each setting comes from, and no secret."""

import os
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import unquote

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
from jobs.urls import parted, several
from schedules.settings import ScheduleSettings
from tasks.library.settings import HttpSettings, SmtpSettings
from tasks.settings import TaskSettings
from worker.settings import WorkerSettings

app = typer.Typer()

HIDDEN: Final = "***"
_KEYS: Final = re.compile("pass|secret|token|key|sig|credential", re.IGNORECASE)
"""What the name of a secret in a query has in it."""


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
    LogSettings: (*_PROCESSES, Role.FLOWER),
    MetricsSettings: _PROCESSES,
    TraceSettings: _PROCESSES,
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
        shown = [_shown(one) or "" for one in value]
        return ",".join(sorted(shown) if isinstance(value, frozenset) else shown)
    if isinstance(value, bool):
        return str(value).lower()
    return redacted(str(value)) if "://" in str(value) else str(value)


def redacted(secret: str) -> str:
    """Return what people may see of a secret: of URLs everything but what opens the door, of anything else nothing."""
    pieces = several(secret)
    pieces[::2] = map(_without_keys, pieces[::2])
    return "".join(pieces)


def _without_keys(url: str) -> str:
    parts = parted(url)
    if parts is None:
        return HIDDEN
    login = ""
    if parts.user is not None:
        user = "" if parts.scheme.lower().startswith("http") else parts.user  # of Sentry the user is the key
        hidden = HIDDEN if parts.password is not None or user != parts.user else ""
        login = ":".join(filter(None, (user, hidden))) + "@"
    query = "&".join(_wish(name, value) for name, value in parts.query)
    return f"{parts.scheme}://{login}{parts.place}" + (f"?{query}" if query else "")


def _wish(name: str, value: str | None) -> str:
    if value is None:  # half of a password, where somebody left a ? in one
        return HIDDEN
    return f"{name}={HIDDEN if _KEYS.search(unquote(name)) else value}"
