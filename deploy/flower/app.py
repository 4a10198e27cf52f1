"""Flower as Penstock runs it: nothing of it is open but whether it lives, and it looks without touching.

Its options are described in Flower's documentation under "Configuration". What may keep a secret is set here, in the
process: a command line can be read by every user of the machine, and an environment by every child.
"""

import os
from collections.abc import Sequence
from typing import Any, Final

import tornado.web
from celery import signals
from celery.bin.celery import celery
from flower import urls
from flower.command import is_flower_envvar
from flower.options import options
from flower.utils import strtobool
from flower.views.monitor import Metrics

from deploy.flower.settings import FlowerSettings
from deploy.stack.home import ROOT
from jobs.errors import ConfigurationError
from jobs.misconfiguration import variable_of
from jobs.places import look_at_place
from jobs.telemetry import logs
from tasks.app import settings
from tasks.startup import wait_for_broker

SECRET_OPTIONS: Final = ("basic_auth", "oauth2_secret", "cookie_secret", "broker_api")
"""Options of Flower whose value is, or holds, a secret."""
OTHER_LOGINS: Final = ("FLOWER_BASIC_AUTH", "FLOWER_AUTH")
"""Flower's own ways to ask who is there; where one of them is set, it counts."""

_PLACE: Final = {"host": "address", "port": "port"}


class GuardedMetrics(Metrics):  # type: ignore[misc]  # Flower ships no types
    """Flower's metrics for those who may see its pages: they name every worker and every task."""

    @tornado.web.authenticated  # type: ignore[untyped-decorator]  # neither does what it stands on
    async def get(self) -> None:
        """Answer."""
        await super().get()


def run(arguments: Sequence[str]) -> None:
    """Run Flower until it is told to stop; `arguments` are options of Flower's own.

    Raises `ConfigurationError` without a password, and for a secret among the arguments.
    """
    _refuse_secrets(arguments)
    signals.setup_logging.connect(_keep_our_logging, weak=False)
    logs.configure(logs.LogSettings(), role="flower")
    chosen = FlowerSettings()
    prepare(chosen, options)
    _refuse_impossible(options)
    if not any(one.lstrip("-").startswith(("port=", "address=", "unix")) for one in arguments):
        names = {f"{part}_variable": variable_of(FlowerSettings, f"flower_{at}") for part, at in _PLACE.items()}
        look_at_place(chosen.flower_address, chosen.flower_port, **names)
    wait_for_broker(settings())
    urls.handlers[:] = [_guarded(handler) for handler in urls.handlers]
    # Celery looks for the app in the folder first: it must be ours.
    celery([f"--workdir={ROOT}", "-A", "tasks.app:celery_app", "flower", "--loglevel=warning", *arguments])


def _keep_our_logging(**_: Any) -> None:
    """Have Celery set up no logging: it does so only when nobody receives this signal. Tornado adds to no handlers."""


def prepare(chosen: FlowerSettings, target: Any) -> None:
    """Set Flower's options; what FLOWER_* says comes after this, and counts. Raises `ConfigurationError`."""
    os.environ.pop("FLOWER_UNAUTHENTICATED_API", None)  # its API can do all that Flower can
    os.environ.pop("FLOWER_URL_PREFIX", None)  # the setting has another name, and two answers help nobody
    target.url_prefix = chosen.flower_prefix.strip("/")
    target.address, target.port = chosen.flower_address, chosen.flower_port
    for name, secret in chosen.secrets().items():
        setattr(target, name, secret)
    target.read_only = True  # jobs are steered through the API: of what Flower does, PostgreSQL never hears
    for name in OTHER_LOGINS:
        if not os.environ.get(name):
            os.environ.pop(name, None)  # empty, it would be a login that nobody can give
    if not any(name in os.environ for name in OTHER_LOGINS):
        target.basic_auth = [chosen.login()]


def _refuse_impossible(target: Any) -> None:
    """Raise `ConfigurationError` for a variable of Flower's own of which it could make no value."""
    known = target._options  # as Flower reads them, only that it ends with a trace
    for variable in filter(is_flower_envvar, sorted(os.environ)):
        name = variable.removeprefix("FLOWER_").lower()
        option = known[name] if name in known else known[name.replace("_", "-")]
        read = strtobool if option.type is bool else option.type
        try:
            for text in os.environ[variable].split(",") if option.multiple else [os.environ[variable]]:
                read(text)
        except (ValueError, TypeError):
            raise ConfigurationError(f"{variable}: is no {option.type.__name__}; correct it, or unset it.") from None


def _guarded(handler: Any) -> Any:
    return (handler[0], GuardedMetrics) if isinstance(handler, tuple) and handler[1] is Metrics else handler


def _refuse_secrets(arguments: Sequence[str]) -> None:
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0].replace("-", "_")
        if name in SECRET_OPTIONS:
            raise ConfigurationError(
                f"--{name} holds a secret, and every user of this machine can read a command line. "
                f"Set FLOWER_{name.upper()} instead."
            )
