"""What code declares: entries of Celery's `beat_schedule`, read as definitions of schedules.

The form is Celery's (its user guide, "Periodic Tasks"): a name, and a dictionary with `task`, `schedule` (seconds, a
timedelta, `schedule()` or `crontab()`), `args`, `kwargs` and `options`.
"""

import inspect
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import pydantic_core
from celery import Celery
from celery.schedules import crontab, schedule

from jobs.errors import ConfigurationError, InvalidPayload, RefusedError
from jobs.model import PRIORITIES
from jobs.planning.editing import Make
from jobs.planning.model import Definition, check, is_name
from tasks.app import load_catalogue
from tasks.catalogue import Catalogue, TaskSpec
from tasks.settings import TaskSettings

Declarations = Mapping[str, tuple[Make, str]]
"""By name: what makes the definition, and where it comes from."""

_ENTRY: Final = {"task", "schedule", "args", "kwargs", "options", "relative"}
_OPTIONS: Final = {"queue", "priority", "expires", "time_limit", "soft_time_limit"}
_KINDS: Final[Mapping[str, tuple[type, str]]] = {
    "task": (str, "the task's name"),
    "args": (Sequence, "a list or a tuple"),
    "kwargs": (Mapping, "a dictionary"),
    "options": (Mapping, "a dictionary"),
}
SHORTEST: Final = 0.001
"""Seconds; less is a slip."""
A_YEAR: Final = timedelta(days=366).total_seconds()

#: The fields of a crontab in the order of a cron expression, and how many numbers each of them can have.
_FIELDS: Final = {"minute": 60, "hour": 24, "day_of_month": 31, "month_of_year": 12, "day_of_week": 7}


def declarations(app: Celery, settings: TaskSettings) -> Declarations:
    """Return what the app's `beat_schedule` declares. Raises `ConfigurationError`, which names the entry."""
    entries: Any = app.conf.beat_schedule or {}
    if not isinstance(entries, Mapping):
        raise ConfigurationError(f"beat_schedule is {type(entries).__name__}; it must map names to entries.")
    if not entries:
        return {}
    catalogue = load_catalogue(app, settings)
    return {name: _declaration(app, name, entry, catalogue, settings) for name, entry in entries.items()}


def _declaration(app: Celery, name: Any, entry: Any, catalogue: Catalogue, settings: TaskSettings) -> tuple[Make, str]:
    origin = f"beat_schedule[{name!r}]"
    try:
        definition = _definition(app, name, entry, catalogue, settings)
        check(definition)
    except (ConfigurationError, RefusedError) as error:
        raise ConfigurationError(f"{origin}: {error}{_fields(error)}") from None
    return lambda _found, _now: definition, origin


def _fields(error: Exception) -> str:
    found = error.errors if isinstance(error, InvalidPayload) else []
    return "".join(f" {one['field']}: {one['message']}." for one in found)


def _definition(app: Celery, name: Any, entry: Any, catalogue: Catalogue, settings: TaskSettings) -> Definition:
    _must_have_its_form(entry)
    options = entry.get("options") or {}
    _must_know(options, _OPTIONS, "options")
    if not isinstance(name, str) or not is_name(name):
        raise ConfigurationError("name it with letters, digits, '.', '_' and '-', at most 100 of them.")
    spec = catalogue[entry["task"]]
    payload = _payload(app, spec, entry.get("args") or (), entry.get("kwargs") or {})
    queue, priority = options.get("queue", spec.queue), options.get("priority", spec.priority)
    if queue not in settings.queues:
        raise ConfigurationError(f"there is no queue {queue!r}; PENSTOCK_QUEUES names {', '.join(settings.queues)}.")
    if type(priority) is not int or priority not in PRIORITIES:
        raise ConfigurationError(f"priority {priority!r} is no whole number between 0 and 9.")
    soft, hard = _seconds(options, "soft_time_limit"), _seconds(options, "time_limit")
    if soft and hard and soft >= hard:
        raise ConfigurationError(f"soft_time_limit {soft:g} must be less than time_limit {hard:g}.")
    return Definition(
        **_timing(entry["schedule"]),
        zone=str(app.timezone),
        task=spec.name,
        payload=payload,
        queue=queue,
        priority=priority,
        expires_after_seconds=_seconds(options, "expires"),
        time_limit_seconds=hard,
        soft_time_limit_seconds=soft,
    )


def _must_have_its_form(entry: Any) -> None:
    """Raise `ConfigurationError` for what is no entry: Celery itself looks at none of this before it runs one."""
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"it is {type(entry).__name__}; write a dictionary with task and schedule.")
    _must_know(entry, _ENTRY, "keys")
    missing = [name for name in ("task", "schedule") if entry.get(name) is None]
    if missing:
        raise ConfigurationError(f"it has no {' and no '.join(missing)}.")
    for name, (kind, said) in _KINDS.items():
        value = entry.get(name)
        if value and (not isinstance(value, kind) or (name == "args" and isinstance(value, str | bytes))):
            raise ConfigurationError(f"{name} is {type(value).__name__}; write {said}.")


def _must_know(given: Mapping[str, Any], known: set[str], what: str) -> None:
    strange = sorted(map(str, given.keys() - known))
    if strange:
        raise ConfigurationError(
            f"the {what} {', '.join(strange)} mean nothing here; there are {', '.join(sorted(known))}."
        )


def _payload(app: Celery, spec: TaskSpec, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the arguments by name. Raises `ConfigurationError` where one has no name, and `InvalidPayload`."""
    places = [
        one.name
        for one in inspect.signature(app.tasks[spec.name].run).parameters.values()
        if one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    if len(args) > len(places):
        raise ConfigurationError(f"{spec.name} takes {len(places)} positional arguments, and args has {len(args)}.")
    named = dict(zip(places, args, strict=False))
    twice = sorted(named.keys() & kwargs.keys())
    if twice:
        raise ConfigurationError(f"args and kwargs both have {', '.join(twice)}.")
    try:
        payload = pydantic_core.to_json({**named, **kwargs}).decode()
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"its arguments have no JSON form: {error}.") from None
    spec.check(payload)
    return payload


def _seconds(options: Mapping[str, Any], name: str) -> float | None:
    value = options.get(name)
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not SHORTEST <= seconds <= A_YEAR:
        raise ConfigurationError(f"{name} must be seconds or a timedelta, at least {SHORTEST:g} s and at most a year.")
    return float(seconds)


def _timing(when: Any) -> dict[str, Any]:
    if isinstance(when, crontab):
        return {"cron": _cron(when)}
    if isinstance(when, int | float) and not isinstance(when, bool):
        return {"every_seconds": float(when)}
    if isinstance(when, timedelta):
        return {"every_seconds": when.total_seconds()}
    if type(when) is schedule:
        return _timing(when.run_every)  # type: ignore[attr-defined]  # the stubs miss it
    raise ConfigurationError(f"{type(when).__name__} is no seconds, timedelta, schedule() or crontab().")


def _cron(when: crontab) -> str:
    """Return the expression for Celery's crontab, whose fields are sets of numbers by now.

    Where both days are restricted Celery means those that fit both, and cron those that fit either.
    """
    found = {name: set(getattr(when, name)) for name in _FIELDS}
    whole = {name for name, numbers in found.items() if len(numbers) == _FIELDS[name]}
    if not {"day_of_month", "day_of_week"} & whole:
        raise ConfigurationError(
            "crontab() with both day_of_month and day_of_week means days that fit both, which no cron expression says; "
            "put the schedule over HTTP, where `MON#1` is the first Monday of the month."
        )
    return " ".join("*" if name in whole else ",".join(map(str, sorted(found[name]))) for name in _FIELDS)
