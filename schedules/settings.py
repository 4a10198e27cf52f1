"""What the beat process must know."""

from typing import Annotated

from pydantic import Field

from jobs.environment import Settings


class ScheduleSettings(Settings):
    """How often upkeep looks, what it keeps, and when a schedule's instant was missed."""

    upkeep_seconds: Annotated[
        float, Field(ge=0.05, le=60, description="The longest pause between two rounds of upkeep")
    ] = 0.5
    stranded_seconds: Annotated[
        float,
        Field(ge=1, le=3600, description="A ready job that was rung this long ago and not started is rung again"),
    ] = 10.0
    keep_finished_days: Annotated[
        float,
        Field(
            gt=0,
            le=3650,
            description="Finished jobs and what schedules decided are deleted after this; open dead letters stay",
        ),
    ] = 30.0
    missed_after_seconds: Annotated[
        float,
        Field(
            ge=1,
            le=86_400,
            description="An instant decided later than this was missed, where its schedule does not say otherwise: "
            "its `catch_up` says what then",
        ),
    ] = 60.0
    beat_metrics_host: Annotated[str, Field(description="Where beat answers /metrics and /health")] = "127.0.0.1"
    beat_metrics_port: Annotated[int, Field(ge=0, le=65_535, description="0: no metrics server")] = 0
