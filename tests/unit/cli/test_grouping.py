"""A command takes a group of options, and a person types each of them."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli.grouping import grouped


@dataclass(frozen=True, kw_only=True)
class Window:
    first: Annotated[int | None, typer.Option(help="The first")] = None
    last: Annotated[int, typer.Option(help="The last")] = 9


app = typer.Typer()


@app.command()
@grouped
def look(name: str, *, before: bool = False, window: Window, after: bool = False) -> None:
    """Look out of the window."""
    typer.echo(f"{name} {before} {window} {after}")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["it"], f"it False {Window()} False"),
        (["it", "--first", "1", "--after"], f"it False {Window(first=1)} True"),
        (["it", "--before", "--last", "3"], f"it True {Window(last=3)} False"),
    ],
)
def test_the_command_gets_the_group_of_what_was_typed(typed: list[str], said: str) -> None:
    result = CliRunner().invoke(app, typed)

    assert (result.exit_code, result.stdout.strip()) == (0, said)


def test_the_options_of_a_group_stand_in_its_place() -> None:
    names = [param.name for param in typer.main.get_command(app).params]

    assert names[:5] == ["name", "before", "first", "last", "after"]


def test_two_options_of_one_name_are_refused() -> None:
    def look_twice(*, first: int, window: Window) -> None: ...

    with pytest.raises(ValueError, match="first"):
        grouped(look_twice)
