"""The reference page is what the command itself says."""

from importlib.metadata import entry_points
from pathlib import Path

import typer

from deploy.cli import processes
from deploy.cli.entry import run
from deploy.cli.main import app
from deploy.cli.reference import PAGE, main, page
from deploy.stack.options import BROKERS


def test_the_page_is_made_from_the_command_as_it_is() -> None:
    assert PAGE.read_text() == page(), "make it anew: python -m deploy.cli.reference"


def test_the_page_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    main(tmp_path / "cli.md")

    assert (tmp_path / "cli.md").read_text() == page()


def test_every_command_has_examples_that_call_it() -> None:
    sections = page().split("\n## `")[1:]

    assert len(sections) == 36
    for section in sections:
        name = section.partition("`")[0]
        examples = section.partition("```console\n")[2].partition("```")[0].splitlines()
        assert any(name in line for line in examples), name
        assert all(line.startswith("$ ") for line in examples)


def test_no_option_takes_a_key() -> None:
    root = typer.main.get_command(app)
    names = {name for command in root.commands.values() for param in command.params for name in param.opts}  # type: ignore[attr-defined]  # it is a group

    assert "--key-file" in names
    assert not names & {"--key", "--api-key", "--token"}


def test_the_installed_command_is_this_one() -> None:
    (found,) = entry_points(group="console_scripts", name="penstock")

    assert found.load() is run


def test_the_brokers_on_offer_are_the_stacks() -> None:
    assert tuple(processes.Broker) == BROKERS
