"""The command `penstock`: every part of Penstock, for people at a terminal."""

from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deploy.cli import (
    catalogue,
    configuration,
    database,
    health,
    looking,
    operating,
    processes,
    schedules,
    screen,
    steering,
    submitting,
)
from deploy.cli.errors import REFUSED
from jobs.errors import PenstockError


class Commands(TyperGroup):
    """All commands; an error of ours becomes one clear line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except PenstockError as error:
            screen.complain(error)
            raise typer.Exit(REFUSED) from None


app = typer.Typer(
    name="penstock",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # locals hold keys
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    submitting,
    looking,
    steering,
    operating,
    schedules,
    catalogue,
    processes,
    health,
    database,
    configuration,
):
    app.add_typer(part.app)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        screen.say(version("penstock"))
        raise typer.Exit


@app.callback()
def penstock(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end")
    ] = False,
) -> None:
    """Submit jobs, see what happens to them, and run what runs them.

    Commands that talk to an API take it from --url or PENSTOCK_API_URL and its
    key from --key-file or PENSTOCK_API_KEY; without these they talk to the
    local stack.
    """


def run() -> None:
    """Run one command and end with its exit code."""
    app(prog_name="penstock")


if __name__ == "__main__":
    run()
