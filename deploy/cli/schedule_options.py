"""The options that say what a schedule is."""

from dataclasses import dataclass
from typing import Annotated, get_args

import typer

from deploy.cli import values
from deploy.cli.client import Json
from jobs.calendar.timing import OnFold, OnGap
from jobs.planning.words import CatchUp, Overlap

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name", show_default=False)]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of schedules", show_default=False)]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", parser=values.instant, help="Not before: 2030-01-31T18:00Z")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", parser=values.instant, help="Not after")]
IfMatch = Annotated[
    str | None,
    typer.Option("--if-match", metavar="ETAG", help="Only if nobody has edited it since: its etag in `show`"),
]
InstantAs = Annotated[str | None, typer.Option(metavar="KEY", help="The argument of the task that gets the instant")]
ExpiresAfter = Annotated[
    float | None,
    typer.Option(metavar="DURATION", parser=values.duration, help="Not started any more so long after it was made"),
]
OnOverlap = Annotated[Overlap | None, typer.Option(help="When the job before has not finished. Default: allow")]
New = Annotated[bool, typer.Option("--new", help="Only where there is none of this name")]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When jobs are made."""

    cron: Annotated[str | None, typer.Option(metavar="CRON", help="Five fields, or six with the second first")] = None
    every: Annotated[
        float | None, typer.Option(metavar="DURATION", parser=values.duration, help="30s, 10m, 2h, 1d of elapsed time")
    ] = None
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Once: 2030-01-31T09:00 by the zone's clock, or ...T09:00Z")
    ] = None
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="Such as Europe/Berlin. Default: UTC")] = None
    on_gap: Annotated[
        str | None, typer.Option(metavar="RULE", help=f"Times that a clock jumps over: {', '.join(get_args(OnGap))}")
    ] = None
    on_fold: Annotated[
        str | None, typer.Option(metavar="RULE", help=f"Times that a clock shows twice: {', '.join(get_args(OnFold))}")
    ] = None
    jitter: Annotated[
        float | None, typer.Option(metavar="DURATION", parser=values.duration, help="Each run is up to so much later")
    ] = None
    start: Annotated[
        str | None, typer.Option(metavar="TIME", parser=values.instant, help="No instant before: 2030-01-31T18:00Z")
    ] = None
    end: Annotated[str | None, typer.Option(metavar="TIME", parser=values.instant, help="No instant after")] = None

    def body(self) -> Json:
        """Return what the API takes."""
        return values.given(
            cron=self.cron,
            every_seconds=self.every,
            at=self.at,
            zone=self.zone,
            on_gap=self.on_gap,
            on_fold=self.on_fold,
            jitter_seconds=self.jitter,
            start_at=self.start,
            end_at=self.end,
        )


@dataclass(frozen=True, kw_only=True)
class Missed:
    """What becomes of instants for which nothing could be made in time."""

    catch_up: Annotated[CatchUp | None, typer.Option(help="Make up for what was missed. Default: latest")] = None
    catch_up_window: Annotated[
        float | None, typer.Option(metavar="DURATION", parser=values.duration, help="Nothing older. Default: 1d")
    ] = None
    catch_up_limit: Annotated[
        int | None, typer.Option(min=1, max=1000, metavar="N", help="Of all, the newest so many. Default: 100")
    ] = None
    missed_after: Annotated[
        float | None,
        typer.Option(metavar="DURATION", parser=values.duration, help="Later than this it was missed. Default: 60s"),
    ] = None

    def body(self) -> Json:
        """Return what the API takes."""
        catch_up = values.given(mode=self.catch_up, window_seconds=self.catch_up_window, limit=self.catch_up_limit)
        return values.given(catch_up=catch_up or None, missed_after_seconds=self.missed_after)
