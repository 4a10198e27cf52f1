"""What a person sees: tables and colours on a terminal; plain lines, tabs between fields, anywhere else.

Nothing that a job carries can steer the terminal: what is not printable is shown as its escape.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from deploy.cli.errors import CommandError

STYLES: Final = {
    "scheduled": "cyan",
    "queued": "blue",
    "running": "yellow",
    "retrying": "magenta",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "dim",
    "expired": "dim",
}
Cells = Sequence[object]


def stdout() -> Console:
    """Return the console of standard output as it is now."""
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False)


def stderr() -> Console:
    """Return the console of standard error as it is now."""
    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False)


def for_people() -> bool:
    """Say whether standard output is a terminal."""
    return stdout().is_terminal


def clean(value: object, *, keep: str = "") -> str:
    """Return `value` as text that cannot move a cursor; the letters of `keep` stay."""
    text = "" if value is None else str(value)
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


def say(text: str) -> None:
    """Print one line of plain text, as it is."""
    sys.stdout.write(clean(text) + "\n")


def note(text: str) -> None:
    """Tell the person something that a program which reads the output must not see."""
    stderr().print(Text(clean(text), style="dim"), soft_wrap=True)


def complain(error: Exception) -> None:
    """Say what went wrong and what to do about it in one line, with the details below."""
    console = stderr()
    details: Sequence[str] = error.details if isinstance(error, CommandError) else ()
    cure = error.cure if isinstance(error, CommandError) else ""
    line = Text.assemble(("Error: ", "bold red"), clean(error), (f" {clean(cure)}" if cure else "", "bold"))
    console.print(line, soft_wrap=True)
    for detail in details:
        console.print(Text(f"  {clean(detail)}"), soft_wrap=True)


def pausing(trouble: CommandError, seconds: float) -> None:
    """Tell that something is tried again."""
    note(f"{trouble} Trying again in {seconds:.1f} s.")


def dump(value: object) -> None:
    """Print one JSON document on one line, in ASCII: programs read it, and terminals survive it."""
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")


def table(columns: Sequence[str], rows: Iterable[Cells], *, title: str | None = None, empty: str = "None.") -> None:
    """Show rows: a table on a terminal, otherwise a line for each row without a heading."""
    if not for_people():
        for row in rows:
            say_fields(row)
        return
    shown = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        shown.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        shown.add_row(*[cell(value) for value in row])
    stdout().print(shown if shown.row_count else Text(empty, style="dim"))


def say_fields(row: Cells) -> None:
    """Print one line, tabs between the fields."""
    sys.stdout.write("\t".join(clean(value) for value in row) + "\n")


def cell(value: object) -> Text:
    """Return a value for a terminal; a job's state has its colour."""
    text = clean(value, keep="\n")
    return Text(text, style=STYLES.get(text, ""))


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Show names and values, one pair a line; those without a value are left out."""
    present = [(name, value) for name, value in pairs if value is not None and value != ""]
    if not for_people():
        for pair in present:
            say_fields(pair)
        return
    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in present:
        shown.add_row(name, cell(value))
    stdout().print(shown)


def progress(*, counted: bool = True) -> Progress:
    """Return a bar on standard error, invisible where that is no terminal."""
    console = stderr()
    figures = [TextColumn("{task.completed:.0f}/{task.total:.0f}")] if counted else []
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        *figures,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def pretty(value: Any) -> str:
    """Return a JSON value for reading: indented on a terminal, on one line elsewhere."""
    return json.dumps(value, ensure_ascii=False, indent=2 if for_people() else None)
