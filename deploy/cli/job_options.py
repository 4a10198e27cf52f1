"""The options that say what a job is, wherever jobs are asked for."""

from dataclasses import dataclass
from typing import Annotated

import typer

from deploy.cli import options, values
from deploy.cli.client import Json

Task = Annotated[
    str, typer.Argument(metavar="TASK", help="The task's name; `penstock tasks` lists them", show_default=False)
]
Queue = Annotated[str | None, typer.Option(metavar="QUEUE", help="Default: the task's")]
Priority = Annotated[
    int | None, typer.Option(min=0, max=9, metavar="N", help="0 to 9, larger is sooner. Default: the task's")
]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the task is given."""

    payload: options.Payload = None
    payload_file: options.PayloadFile = None
    param: options.Pairs = None

    def together(self) -> Json:
        """Return the payload. Raises `typer.BadParameter`."""
        return values.payload(self.payload, self.payload_file, self.param or [])


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What holds for the job from its first attempt to its last."""

    unique_key: Annotated[str | None, typer.Option(metavar="KEY", help="At most one unfinished job holds it")] = None
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="For finding jobs again; may be repeated")] = None
    retry_max: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Retries after the first attempt. Default: the task's")
    ] = None
    time_limit: Annotated[
        float | None,
        typer.Option(metavar="DURATION", parser=values.duration, help="One attempt is killed after so long"),
    ] = None

    def body(self) -> Json:
        """Return what the API takes."""
        return values.given(
            unique_key=self.unique_key,
            tags=self.tag,
            retry=values.given(max_retries=self.retry_max) or None,
            time_limit=values.given(hard_seconds=self.time_limit) or None,
        )
