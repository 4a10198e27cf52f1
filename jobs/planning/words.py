"""The words of schedules: each one a value that is stored and shown."""

from enum import StrEnum


class Source(StrEnum):
    """Where a schedule is edited."""

    API = "api"
    CODE = "code"
    """In `beat_schedule`; read-only over HTTP."""


class CatchUp(StrEnum):
    """Which of the instants that nobody was there for are made up for."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Overlap(StrEnum):
    """What becomes of an instant whose predecessor's job has not finished."""

    ALLOW = "allow"
    SKIP = "skip"
    WAIT = "wait"
    """It runs when the other one has finished; one waits at the most."""
    CANCEL = "cancel"
    """The other one is cancelled."""


class Decision(StrEnum):
    """What was decided about an instant."""

    FIRED = "fired"
    """There is a job."""
    WAITING = "waiting"
    """There will be one when its predecessor's has finished."""
    SKIPPED = "skipped"


class Why(StrEnum):
    """The reason of a decision."""

    ON_TIME = "on_time"
    """Within ten seconds of its time."""
    LATE = "late"
    """After its time, and before it was missed."""
    CAUGHT_UP = "caught_up"
    """It was missed, and `catch_up` made up for it."""
    TRIGGERED = "triggered"
    """Somebody asked for it: now, once."""
    BACKFILLED = "backfilled"
    """Somebody asked for the instants of a span of time."""
    WAITED = "waited"
    """It fired once its predecessor's job had finished."""
    OVERLAP = "overlap"
    """The job of its predecessor had not finished."""
    MISSED = "missed"
    """No beat was there in time, and `catch_up` is none."""
    SUPERSEDED = "superseded"
    """A later instant ran in its place."""
    TOO_OLD = "too_old"
    """It was missed by more than the window of `catch_up`."""
    OVER_LIMIT = "over_limit"
    """More were missed than `catch_up` makes up for; the newest have precedence."""
    GAP = "gap"
    """The clock jumped over its time, and `on_gap` is skip."""
    FOLD = "fold"
    """The clock showed its time for the second time, and `on_fold` is once."""
    PAUSED = "paused"
    EDITED = "edited"
    """The timing was changed before anything was decided, and the new one does not have this instant."""
    UNDECLARED = "undeclared"
    """Code did not declare the schedule at that time."""
    DELETED = "deleted"
    """The schedule was deleted before anything came of it."""
    REFUSED = "refused"
    """Intake did not accept the job; `detail` says why."""
