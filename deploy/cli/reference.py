"""`python -m deploy.cli.reference`: the reference page of the command, made from the command itself."""

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import typer

from deploy.cli.errors import MEANINGS
from deploy.cli.main import app
from deploy.stack.home import ROOT

PAGE: Final = ROOT / "docs" / "reference" / "cli.md"

_HEAD: Final = """\
# The command `penstock`

Made from the command's own help by `python -m deploy.cli.reference`; a test holds it to the code.

## Which API, which key

| | first | else | else |
|---|---|---|---|
| address | `--url` | `PENSTOCK_API_URL` | the local stack's |
| key | `--key-file` | `PENSTOCK_API_KEY` | the local stack's, for that stack alone |

The local stack's facts are read from `stack.json` in the folder that `PENSTOCK_HOME` names; without it from `.run` in
the current folder, then from `.run` in the checkout. A file with a key must be yours and closed to others
(`chmod 600`). A key never goes on a command line, where every user of the machine can read it. `penstock migrate` and
`penstock keys` work on the database of `DATABASE_URL`, or else of the local stack.

## What is printed

On a terminal: tables, colours, and progress bars on standard error. Elsewhere: one line for each thing, tabs between
the fields, no heading, instants as the API gives them. With `--json`: one JSON document a line, as the API gives it.
Errors and remarks go to standard error. What is not printable is shown as its escape.

## Exit codes

| code | meaning |
|---|---|
"""


def page() -> str:
    """Return the page."""
    root: Any = typer.main.get_command(app)
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return "\n".join([_HEAD + codes, *_sections("penstock", root)])


def _sections(path: str, group: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _sections(f"{path} {name}", command)
        else:
            yield _section(f"{path} {name}", command)


def _section(path: str, command: Any) -> str:
    context = typer.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## `{path}`", cleandoc(command.help), f"```\n{usage}\n```"]
    records = [param.get_help_record(context) for param in command.params if param.name != "help"]
    if records:
        parts.append("| | |\n|---|---|\n" + "\n".join(_row(*record) for record in records))
    examples = command.epilog.replace(r"\[", "[").split("\n")[1:]
    parts.append("```console\n" + "\n".join(examples) + "\n```")
    return "\n\n".join(parts) + "\n"


def _row(names: str, text: str) -> str:
    names = names.partition(" <")[0] if names[0] != "-" else names  # the name of an argument says what it is
    cells = [cell.replace("|", r"\|") for cell in (f"`{names}`", " ".join(text.split()))]
    return f"| {' | '.join(cells)} |"


def main(file: Path = PAGE) -> None:
    """Write the page."""
    file.write_text(page())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
