"""What a process says when it cannot start with its settings: the setting, what is wrong, the cure, and no value."""

import os
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from jobs.environment import FILE_SUFFIX, PREFIX, Settings, is_secret, settings_named, variables

_OURS: Final = "Value error, "
"""What pydantic writes before the words of our own validators."""


def told(error: ValidationError) -> str:
    """Return one line that names each wrong setting by its environment variable, and what to do about it."""
    settings = settings_named(error.title)
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(" ".join(_sentence(settings, one).split()) for one in found)


def _sentence(settings: type[Settings] | None, one: Any) -> str:
    what = str(one["msg"]).removeprefix(_OURS)
    where = str(one["loc"][0]) if one["loc"] else ""
    if settings is None:
        return f"{_plain(where)}: {what}"
    name, field = _field(settings, where)
    if field is None:
        return f"{settings.model_config['env_prefix']}*: {what}"
    variable = _variable(variables(settings, name, field))
    if one["type"] == "missing":
        return f"{variable} is not set: {field.description}"
    return f"{variable}: {what}{_cure(field)}"


def _plain(where: str) -> str:
    return where.upper() if where.upper().startswith(PREFIX) else f"{PREFIX}{where.upper() or 'SETTINGS'}"


def _field(settings: type[Settings], where: str) -> tuple[str, FieldInfo | None]:
    """Return the field that pydantic names by itself or by one of its variables."""
    for name, field in settings.model_fields.items():
        if where == name or where.upper() in variables(settings, name, field):
            return name, field
    return where, None


def variable_of(settings: type[Settings], name: str) -> str:
    """Return the variable that a person must look at for the field `name`: the one that is set, else the first."""
    return _variable(variables(settings, name, settings.model_fields[name]))


def _variable(names: tuple[str, ...]) -> str:
    """Return the variable that is set, else the first."""
    given = (one for name in names for one in (name, name + FILE_SUFFIX) if os.environ.get(one))
    return next(given, names[0])


def _cure(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined or is_secret(field):
        return ""
    if isinstance(default, tuple | frozenset):
        default = ",".join(map(str, default))
    elif isinstance(default, bool):
        default = str(default).lower()
    return " (unset, it is {})".format("empty" if default in {None, ""} else default)
