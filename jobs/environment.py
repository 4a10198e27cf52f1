"""How a process is told its settings: by environment variables, and secrets by files too.

Every settings class of Penstock is a `Settings`, so what is said here holds for all of them. pydantic-settings' own
secrets come from one folder, by the names of fields; a variable for each file is what containers and systemd have.
"""

import difflib
import os
import re
import stat
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import AliasChoices, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from jobs.errors import ConfigurationError
from jobs.urls import passwords
from jobs.variables import KNOWN

PREFIX: Final = "PENSTOCK_"
FILE_SUFFIX: Final = "_FILE"
"""Appended to the name of a variable that keeps a secret, it names the file to read the secret from."""
LARGEST_SECRET_BYTES: Final = 65_536

_EXAMPLES: Final = frozenset({"admin", "default", "example", "guest", "password", "penstock", "postgres", "secret"})
"""Secrets that documentation and servers come with."""
_PLACEHOLDER: Final = re.compile(r"change[-_ ]?(it|me|this)[-_!.\w]*|<.*>|\.\.\.|x{3,}", re.IGNORECASE)
_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP)(_\w+)?$")


class Environment(EnvSettingsSource):
    """The environment, in which each secret NAME may be given as NAME_FILE, the path of a file that holds it."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        found = dict(super()._load_env_vars())
        for _, names in secret_variables(self.settings_cls):
            for name in names:
                secret = secret_from_file(name, found)
                if secret is not None:
                    found[name.lower()] = secret
        return found


class Settings(BaseSettings):
    """Settings that the environment tells; an empty variable counts as one that is not set."""

    # What is wrong with a setting is told without its value, which may hold a password.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", populate_by_name=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - `Environment` stands in for it
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no file in the current folder decides anything
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - variables name these files
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the code says before what the environment says, and nothing else."""
        return init_settings, Environment(settings_cls)

    @field_validator("*", mode="after")
    @classmethod
    def _is_a_secret(cls, value: object) -> object:
        """Refuse a secret that everybody knows."""
        if isinstance(value, SecretStr) and (known := known_secret(value.get_secret_value())):
            raise ValueError(f"holds {known!r}, which everybody knows; make one of your own: openssl rand -hex 24")
        return value


def known_secret(value: str) -> str | None:
    """Return the example or default that `value` is, or that a URL in it has as a password; None: it is neither."""
    for secret in (value, *passwords(value)):
        if secret.lower() in _EXAMPLES or _PLACEHOLDER.fullmatch(secret):
            return secret
    return None


def variables(settings: type[BaseSettings], name: str, field: FieldInfo) -> tuple[str, ...]:
    """Return the environment variables that may hold the field `name`; the first one that is set counts."""
    if isinstance(field.validation_alias, AliasChoices):
        return tuple(str(choice) for choice in field.validation_alias.choices if str(choice).isupper())
    return (f"{settings.model_config['env_prefix']}{name}".upper(),)


def is_secret(field: FieldInfo) -> bool:
    """Tell whether the field keeps a secret."""
    return SecretStr in {field.annotation, *typing.get_args(field.annotation)}


def secret_variables(settings: type[BaseSettings]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each field that keeps a secret, and its variables."""
    for name, field in settings.model_fields.items():
        if is_secret(field):
            yield name, variables(settings, name, field)


def secret_from_file(name: str, environment: Mapping[str, str | None]) -> str | None:
    """Return the secret in the file that `name`_FILE names, without the line's end; None: there is no such variable.

    The names in `environment` are in lower case. Raises `ConfigurationError`, which names the variable, where the
    secret itself is given as well, and where the file is missing, cannot be read, is empty or has several lines.
    """
    variable = name + FILE_SUFFIX
    file = environment.get(variable.lower())
    if not file:
        return None
    if environment.get(name.lower()):
        raise ConfigurationError(f"{name} and {variable} are both set; unset one of them.")
    try:
        return _one_line(Path(file))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigurationError(f"{variable} names {file}, which cannot be read: {why}.") from None
    except ValueError as error:
        raise ConfigurationError(f"{variable} names {file}, which {error}; write the secret on one line.") from None


def _one_line(file: Path) -> str:
    """Return the only line of `file`. Raises `OSError`, and `ValueError` that says what it is instead."""
    # Without waiting: a pipe would keep the process for ever.
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:  # noqa: PTH123 - pathlib opens no descriptor
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("is no regular file")
        content = opened.read(LARGEST_SECRET_BYTES + 1)
    if len(content) > LARGEST_SECRET_BYTES:
        raise ValueError(f"is larger than {LARGEST_SECRET_BYTES} bytes")
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    if not text.strip():
        raise ValueError("is empty")
    if len(text.splitlines()) > 1:
        raise ValueError("has several lines")
    return text


def refuse_unknown() -> None:
    """Raise `ConfigurationError`, which suggests a name, for a variable of ours that no part of Penstock reads."""
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in KNOWN:
            raise ConfigurationError(f"{name} is no setting of this release; {_instead(name.upper())}")


def _instead(name: str) -> str:
    if _SERVICE_LINK.search(name):
        return "Kubernetes made it of a Service: set enableServiceLinks to false in the pod."
    close = difflib.get_close_matches(name, sorted(KNOWN), n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else "unset it, docs/reference/settings.md lists them all."


def present() -> dict[str, str | None]:
    """Return the environment as `secret_from_file` takes it."""
    return {name.lower(): value for name, value in os.environ.items()}


def settings_named(title: str) -> type[Settings] | None:
    """Return the settings class of that name, among those that are loaded."""
    waiting: list[type[Any]] = [Settings]
    while waiting:
        one = waiting.pop()
        if one.__name__ == title:
            return one
        waiting += one.__subclasses__()
    return None
