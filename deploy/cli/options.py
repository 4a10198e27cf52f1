"""The options that several commands share, and how their help texts show examples."""

from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from deploy.cli import values
from jobs.state import Reason

JOBS: Final = "Jobs"
DEAD_LETTERS: Final = "Dead letters"
PROCESSES: Final = "Processes"
OPERATIONS: Final = "Operations"

CONNECTION: Final = "Connection"
OUTPUT: Final = "Output"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The API. Default: PENSTOCK_API_URL, else the local stack's",
        rich_help_panel=CONNECTION,
        show_default=False,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="A file, mode 0600, with the API key. Default: PENSTOCK_API_KEY, else the local stack's",
        rich_help_panel=CONNECTION,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line", rich_help_panel=OUTPUT)]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        metavar="DURATION",
        parser=values.duration,
        help="Wait so long at the most for the end of the job",
        show_default=False,
    ),
]
JobId = Annotated[UUID, typer.Argument(metavar="ID", help="The job's id", show_default=False)]
JobIds = Annotated[list[UUID], typer.Argument(metavar="ID...", help="Ids of jobs", show_default=False)]
TaskFilter = Annotated[str | None, typer.Option("--task", metavar="TASK", help="Only of this task")]
ReasonFilter = Annotated[Reason | None, typer.Option("--reason", help="Only those that failed for this reason")]
Payload = Annotated[
    str | None, typer.Option("--payload", metavar="JSON", help="The task's arguments, as a JSON object")
]
PayloadFile = Annotated[
    Path | None, typer.Option("--payload-file", metavar="FILE", help="The same from a file; - is standard input")
]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="KEY=VALUE",
        help="One argument; may be repeated. The value is JSON where it reads as JSON, otherwise text",
    ),
]


def examples(*lines: str) -> str:
    """Return the lines as the end of a help text."""
    return "\n".join(["Examples:", *(f"$ {line}" for line in lines)]).replace("[", r"\[")
