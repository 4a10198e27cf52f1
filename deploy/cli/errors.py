"""What a person reads when a command cannot do its work, and with which code the command then ends."""

from collections.abc import Sequence
from typing import Final

from jobs.errors import PenstockError
from jobs.startup import AWAY

DONE: Final = 0
NOT_SUCCEEDED: Final = 1
"""A job that was waited for has failed, was cancelled or expired; or a check found something to do."""
REFUSED: Final = 2
"""The command, or the API, did not accept what was asked for; or the API could not be reached."""
STILL_RUNNING: Final = 3
"""The time to wait was over before the job was."""

MEANINGS: Final = {
    DONE: "done; a job that was waited for has succeeded",
    NOT_SUCCEEDED: (
        "a job that was waited for has failed, was cancelled or expired; `migrate --check`: not at the head; "
        "`schedules trigger`: skipped"
    ),
    REFUSED: "refused, by the command line or by the API, or nothing could be reached",
    STILL_RUNNING: "a job that was waited for had not finished in time",
    AWAY: "`migrate`: PostgreSQL is away, or a table is held; another try may succeed",
    130: "interrupted with Ctrl-C; jobs go on",
}


class CommandError(PenstockError):
    """The command cannot do what was asked for."""

    def __init__(self, message: str, *, cure: str = "", details: Sequence[str] = ()) -> None:
        """Carry what happened, what to do about it, and lines of detail."""
        super().__init__(message)
        self.cure = cure
        self.details = list(details)


class Unreachable(CommandError):
    """Nothing answers where the API should be."""


class Refusal(CommandError):
    """The API answered with a problem."""

    def __init__(
        self, message: str, *, status: int, slug: str = "", cure: str = "", details: Sequence[str] = ()
    ) -> None:
        """Carry the problem's kind besides its words."""
        super().__init__(message, cure=cure, details=details)
        self.status = status
        self.slug = slug
