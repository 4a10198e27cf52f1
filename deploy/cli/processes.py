"""`penstock up`, `stop`, `api`, `worker`, `beat`, `flower`: this process becomes the one that is asked for."""

import os
import sys
from enum import StrEnum
from typing import Annotated, Final

import typer

from deploy.cli import options

app = typer.Typer()

#: -P keeps the current folder off the path: a folder `jobs` or `api` there must not stand in for ours.
PYTHON: Final = (sys.executable, "-P", "-m")
PASS_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True}


class Broker(StrEnum):
    """The brokers that the local stack can start."""

    VALKEY = "valkey"
    RABBITMQ = "rabbitmq"


def become(*arguments: str, **environment: object) -> None:
    """Replace this process by a Python module's; what is None in `environment` stays as it is."""
    given = {name: str(value) for name, value in environment.items() if value is not None}
    sys.stdout.flush()
    os.execve(sys.executable, [*PYTHON, *arguments], {**os.environ, **given})  # noqa: S606 - our own modules


@app.command(
    rich_help_panel=options.PROCESSES,
    epilog=options.examples(
        "penstock up",
        "penstock up --detach --workers 4",
        "penstock up --broker rabbitmq",
        "DATABASE_URL=postgresql://me@db/penstock penstock up",
    ),
)
def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="In the background; return when it serves")] = False,
    broker: Annotated[Broker | None, typer.Option(help="What to start where BROKER_URL names none")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Worker processes. Default: 2")
    ] = None,
) -> None:
    """Run everything on this machine: PostgreSQL, a broker, the API, workers, beat and Flower.

    DATABASE_URL and BROKER_URL, where they are set, are used, and nothing is started in their place.
    """
    become("deploy.stack", "start" if detach else "up", BROKER=broker, WORKERS=workers)


@app.command(rich_help_panel=options.PROCESSES, epilog=options.examples("penstock stop"))
def stop() -> None:
    """End the local stack."""
    become("deploy.stack", "stop")


@app.command(
    rich_help_panel=options.PROCESSES,
    epilog=options.examples("penstock api", "penstock api --host 0.0.0.0 --port 8080 --processes 4"),
)
def api(
    *,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The address to listen on. Default: PENSTOCK_API_HOST")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, metavar="N", help="Default: PENSTOCK_API_PORT")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Default: PENSTOCK_API_PROCESSES")
    ] = None,
) -> None:
    """Run an API process here; DATABASE_URL and BROKER_URL say what it works with."""
    become("api", PENSTOCK_API_HOST=host, PENSTOCK_API_PORT=port, PENSTOCK_API_PROCESSES=processes)


@app.command(
    rich_help_panel=options.PROCESSES,
    epilog=options.examples("penstock worker", "penstock worker --queues critical --concurrency 8"),
)
def worker(
    *,
    queues: Annotated[
        str | None, typer.Option(metavar="QUEUES", help="Serve these, separated by commas. Default: all")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, metavar="N", help="Jobs that run at the same time")] = None,
) -> None:
    """Run a worker here; DATABASE_URL and BROKER_URL say what it works with."""
    become("worker", PENSTOCK_WORKER_QUEUES=queues, PENSTOCK_WORKER_CONCURRENCY=concurrency)


@app.command(rich_help_panel=options.PROCESSES, epilog=options.examples("penstock beat"))
def beat() -> None:
    """Run a beat here, which looks after what waits and what was lost."""
    become("schedules")


@app.command(
    rich_help_panel=options.PROCESSES,
    context_settings=PASS_ON,
    epilog=options.examples(
        "PENSTOCK_FLOWER_PASSWORD_FILE=flower.password penstock flower",
        "PENSTOCK_FLOWER_PASSWORD_FILE=flower.password penstock flower --port=5566",
    ),
)
def flower(context: typer.Context) -> None:
    """Run Flower here, behind its password and under PENSTOCK_FLOWER_PREFIX; further options go to Flower."""
    become("deploy.flower", *context.args)


def run() -> None:
    """Run one of these commands, with no other loaded."""
    typer.main.get_command(app).main(prog_name="penstock", help_option_names=["-h", "--help"])
