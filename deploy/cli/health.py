"""`penstock health`: one question to a process on this machine, quick enough for a container's probe.

Nothing of Celery or SQLAlchemy is loaded: with them, starting takes longer than asking.
"""

import json
import socket
import sys
from enum import StrEnum
from http.client import HTTPException
from typing import Annotated, Any, Final, NamedTuple
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import typer
from pydantic import ValidationError

from api.settings import ApiSettings
from deploy.cli import options
from deploy.flower.settings import FlowerSettings
from jobs.misconfiguration import told
from schedules.settings import ScheduleSettings
from worker.settings import WorkerSettings

app = typer.Typer()

UNWELL: Final = 1
EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where others listen
"""Addresses that stand for all of a machine's, and the one of them to ask."""


class Part(StrEnum):
    """The processes that answer for themselves."""

    API = "api"
    WORKER = "worker"
    BEAT = "beat"
    FLOWER = "flower"


class Place(NamedTuple):
    """Where a process answers, and which variable says so."""

    host: str
    port: int
    variable: str
    alive: str = "/health"
    ready: str = "/ready"

    def url(self, *, ready: bool) -> str:
        """Return what to ask."""
        host = f"[{self.reached_at}]" if ":" in self.reached_at else self.reached_at
        return f"http://{host}:{self.port}{self.ready if ready else self.alive}"

    @property
    def reached_at(self) -> str:
        """The address to ask from this machine."""
        return EVERYWHERE.get(self.host, self.host)


@app.command(
    rich_help_panel=options.PROCESSES,
    epilog=options.examples("penstock health api", "penstock health worker --ready", "penstock health"),
)
def health(
    part: Annotated[
        Part | None, typer.Argument(help="Which process. Default: the one that answers here", show_default=False)
    ] = None,
    *,
    ready: Annotated[bool, typer.Option("--ready", help="Can it do its work now? Without this: does it live?")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="How long to wait")] = 5.0,
) -> None:
    """Ask a process on this machine how it is; ends with 0 or 1. For the probes of containers.

    Where it answers is taken from the variables that it was started with.
    """
    found = part or _here(timeout)
    if found is None:
        typer.echo("nothing of Penstock answers here", err=True)
        raise typer.Exit(UNWELL)
    try:
        place = place_of(found)
        wrong = _unset(place) or ask(place.url(ready=ready), timeout)
    except ValidationError as error:
        wrong = told(error)
    if wrong:
        typer.echo(f"{found} is not {'ready' if ready else 'well'}: {wrong}", err=True)
        raise typer.Exit(UNWELL)
    typer.echo(f"{found} is {'ready' if ready else 'well'}")


def _here(seconds: float) -> Part | None:
    """Return the first process whose port is open; a container has one."""
    return next((part for part in Part if _listens(part, seconds)), None)


def _listens(part: Part, seconds: float) -> bool:
    try:
        place = place_of(part)
        with socket.create_connection((place.reached_at, place.port), timeout=seconds):
            return True
    except (ValidationError, OSError):
        return False


def place_of(part: Part) -> Place:
    """Return where that process answers, by the environment. Raises `ValidationError`."""
    match part:
        case Part.API:
            api = ApiSettings()
            return Place(api.api_host, api.api_port, "PENSTOCK_API_PORT")
        case Part.WORKER:
            worker = WorkerSettings()
            return Place(worker.worker_metrics_host, worker.worker_metrics_port, "PENSTOCK_WORKER_METRICS_PORT")
        case Part.BEAT:
            beat = ScheduleSettings()
            return Place(beat.beat_metrics_host, beat.beat_metrics_port, "PENSTOCK_BEAT_METRICS_PORT")
        case Part.FLOWER:
            flower = FlowerSettings()
            path = f"{flower.path}healthcheck"
            return Place(flower.flower_address, flower.flower_port, "FLOWER_PORT", path, path)


def _unset(place: Place) -> str:
    return "" if place.port else f"it answers nowhere, {place.variable} is not set"


def ask(url: str, seconds: float) -> str:
    """Return what is wrong, in a few words; nothing when the answer is 200."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=seconds):
            return ""
    except HTTPError as error:
        with error:
            return _reasons(error) or f"{url} answers {error.code}"
    except (OSError, HTTPException) as error:
        return f"{url} does not answer ({getattr(error, 'reason', None) or type(error).__name__})"


def _reasons(answer: HTTPError) -> str:
    """Return which dependencies an answer of /ready says to be away; nothing when it is no such answer."""
    try:
        found: dict[str, Any] = json.load(answer)["dependencies"]
        details = {name: one if isinstance(one, dict) else {"ok": one} for name, one in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    away = {name: one.get("detail") for name, one in details.items() if not one.get("ok")}
    return ", ".join(f"{name} ({detail})" if detail else name for name, detail in away.items())


def run() -> None:
    """Run this command alone, as `penstock health`."""
    typer.main.get_command(app).main(sys.argv[2:], prog_name="penstock health")
