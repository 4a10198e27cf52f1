"""Writes docs/reference/settings.md from the settings classes: `python -m tests.unit.docs.settings_page`."""

import ast
import enum
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from deploy.cli.configuration import READERS, Role
from deploy.flower.settings import FlowerSettings
from deploy.stack.home import ROOT
from jobs.database import DatabaseSettings
from jobs.environment import FILE_SUFFIX, Settings, variables
from jobs.failpoints import FailPointSettings
from jobs.startup import StartSettings
from jobs.telemetry.logs import LogSettings
from jobs.telemetry.metrics import MetricsSettings
from jobs.telemetry.reports import ReportSettings
from jobs.telemetry.traces import TraceSettings
from schedules.settings import ScheduleSettings
from tasks.library.settings import HttpSettings, SmtpSettings
from tasks.settings import TaskSettings
from worker.settings import WorkerSettings

PAGE: Final = ROOT / "docs" / "reference" / "settings.md"

_WHO: Final = {
    Role.API: "API",
    Role.WORKER: "workers",
    Role.BEAT: "beat",
    Role.FLOWER: "`penstock flower`",
    Role.MIGRATE: "`penstock migrate`",
}
_TITLES: Final[tuple[tuple[str, type[Settings]], ...]] = (
    ("PostgreSQL", DatabaseSettings),
    ("Broker, tasks and queues", TaskSettings),
    ("API", ApiSettings),
    ("Workers", WorkerSettings),
    ("Beat", ScheduleSettings),
    ("Flower", FlowerSettings),
    ("Fail-points", FailPointSettings),
    ("Start", StartSettings),
    ("Logs", LogSettings),
    ("Metrics", MetricsSettings),
    ("Traces", TraceSettings),
    ("Error reports", ReportSettings),
    ("`http.request`", HttpSettings),
    ("`email.send`", SmtpSettings),
)


def _readers(settings: type[Settings]) -> str:
    also = ["`penstock keys`"] if settings is DatabaseSettings else []
    return ", ".join([*(_WHO[role] for role in READERS[settings]), *also])


#: Title, settings class, and who reads it, as `penstock config` has it.
CLASSES: Final = tuple((title, settings, _readers(settings)) for title, settings in _TITLES)

#: What has no class of its own: name, default, meaning.
STACK: Final = (
    ("DATABASE_URL", "unset: a PostgreSQL of its own", "Use this PostgreSQL; none is started"),
    ("BROKER_URL", "unset: a broker of its own", "Use this broker; none is started"),
    ("BROKER", "`valkey`", "The broker that is started: `valkey` or `rabbitmq`"),
    ("WORKERS", "`2`", "Worker processes, 1 to 64"),
    ("DETACH", "unset", "Set: `make run` returns and the stack stays; read by make alone"),
    ("PENSTOCK_HOME", "`.run` in the clone", "The folder of this stack's state, key, passwords and logs"),
    ("PENSTOCK_API_PORT", "`8000`", "The port that the API would like; a free one near it when it is taken"),
    ("PENSTOCK_LOG_FORMAT", "`json`", "As above; only the default is another"),
    ("PENSTOCK_DRAIN_SECONDS", "`1`", "As above; only the default is another: a person waits at the terminal"),
    ("PYTHONPATH", "unset", "The folder of your own task modules: the stack's processes do not run in it"),
)
CLIENT: Final = (
    ("PENSTOCK_API_URL", "the local stack's", "The API to talk to"),
    ("PENSTOCK_API_KEY", "the local stack's, for that stack alone", "The API key"),
    ("PENSTOCK_API_KEY_FILE", "unset", "A file that holds the API key, in place of the variable"),
    ("PENSTOCK_HOME", "`.run` here, else in the clone", "Where the local stack's facts are"),
)

HEAD: Final = """# Settings

<!-- Made by `python -m tests.unit.docs.settings_page`; a test fails when this page and the code differ. -->

Settings are environment variables, read once when a process starts. A value that is impossible stops the process with
the reason, and so does a variable that begins with `PENSTOCK_` and is not on this page. Lists are written with commas.
The unit is the end of the name: `_seconds`, `_days`, `_bytes`. Where two names are given for one setting, the first one
that is set counts. A variable that is empty counts as not set.

What is marked as kept secret may be in a file: append `_FILE` to its name, and let that variable hold the path. The
file is read once and has one line, whose end is not part of the secret. To set both is an error, and so is a file
that is missing, empty or not to be read. A secret that documentation is full of (`change-me`, `guest`, `password`) is
refused, alone and as the password in a URL. [Configure](../how-to/configure.md) shows both, and what a process says
that cannot start.
"""

STACK_HEAD: Final = """## The local stack

`make run` and `penstock up` read these, and pass every other variable on to each process.
"""
CLIENT_HEAD: Final = """## The command `penstock`

Read by the commands that talk to an API; [the command](cli.md) has the options.
"""


class Row(NamedTuple):
    """One setting as the page shows it."""

    names: tuple[str, ...]
    kind: str
    default: str
    meaning: str


def page() -> str:
    """Return the page as the code is now."""
    parts = [HEAD]
    for title, settings, readers in CLASSES:
        parts.append(f"## {title}\n\n{first_line(settings)} Read by: {readers}.\n")
        parts.append(table(rows(settings)))
    return "\n".join([*parts, STACK_HEAD, plain_table(STACK), CLIENT_HEAD, plain_table(CLIENT)])


def first_line(settings: type[BaseSettings]) -> str:
    """Return what the class says of itself, without its prefix."""
    return (settings.__doc__ or "").partition(" Prefix ")[0].partition("\n")[0]


def rows(settings: type[BaseSettings]) -> Iterator[Row]:
    """Yield the settings of a class, in its order."""
    for name, field in settings.model_fields.items():
        yield Row(variables(settings, name, field), kind(field), default(field), meaning(settings, name, field))


def kind(field: FieldInfo) -> str:
    """Return type and bounds in words."""
    bounds = [word for rule in field.metadata if (word := _bound(rule))]
    return ", ".join([_type(field.annotation), *bounds])


_WORDS: Final = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    SecretStr: "text, kept secret",
    Path: "path of a file",
}


def _type(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{one}`" for one in inner)
    if origin is typing.Annotated:
        return ", ".join([_type(inner[0]), *filter(None, map(_bound, _rules(inner[1:])))])
    if origin in {typing.Union, types.UnionType}:
        return _type(next(one for one in inner if one is not type(None)))
    if origin in {tuple, list, frozenset, set}:
        return "list of texts" if inner[0] is str else "list"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f"`{one.value}`" for one in annotation)
    return _WORDS.get(annotation, "text")


def _rules(given: tuple[Any, ...]) -> Iterator[Any]:
    for rule in given:
        yield from rule.metadata if isinstance(rule, FieldInfo) else (rule,)


def _bound(rule: Any) -> str:
    match rule:
        case Ge():
            return f"at least {rule.ge:,}"
        case Gt():
            return f"more than {rule.gt:,}"
        case Le():
            return f"at most {rule.le:,}"
        case Lt():
            return f"less than {rule.lt:,}"
        case MinLen():
            return "not empty"
        case _:
            return ""


def default(field: FieldInfo) -> str:
    """Return the default as it would stand in the environment."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), frozenset()):
        return "unset" if value is None else "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def meaning(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """Return the description: the field's own, else the docstring below it."""
    found = field.description or _docstrings(settings).get(name, "")
    assert found, f"{settings.__name__}.{name} has no description"
    return found.removesuffix(".").replace("|", "\\|")


def _docstrings(settings: type[BaseSettings]) -> dict[str, str]:
    """Return the texts that stand below the fields in the source, which Python itself forgets."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: str(text.value.value)
        for field, text in itertools.pairwise(body.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def table(found: Iterator[Row]) -> str:
    """Return a table of settings."""
    lines = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for row in found:
        names = ", ".join(f"`{name}`" for name in row.names)
        if row.kind.startswith(_WORDS[SecretStr]):
            names += ", or a file in " + ", ".join(f"`{name}{FILE_SUFFIX}`" for name in row.names)
        lines.append(f"| {names} | {row.kind} | {row.default} | {row.meaning} |")
    return "\n".join(lines) + "\n"


def plain_table(found: tuple[tuple[str, str, str], ...]) -> str:
    """Return a table of variables that no class describes."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {value} | {text} |" for name, value, text in found]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
