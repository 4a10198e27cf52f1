"""How a call to somebody else's server can end badly, apart from the endings that `jobs.errors` names.

::

    OutboundError                 retryable: a later attempt may succeed, and this one is spent
    ├── UnreachableError
    ├── TooSlowError
    ├── BrokenAnswerError
    └── ServerTroubleError
    UrlRefusedError               permanent, and a ValueError, so a bad URL is refused when the job is submitted

No message names an address, a path or a query: an error is shown to whoever may read the job.
"""

from jobs.errors import PermanentError


class OutboundError(Exception):
    """The other side could not do its work; a later attempt may succeed."""

    def __init__(self, message: str | None = None) -> None:
        """Carry `message`, or the class's docstring."""
        super().__init__(message or type(self).__doc__)


class UnreachableError(OutboundError):
    """No connection could be made."""


class TooSlowError(OutboundError):
    """The time limit of the call ran out."""


class BrokenAnswerError(OutboundError):
    """The answer broke off or could not be read."""


class ServerTroubleError(OutboundError):
    """The server says that it cannot do this now."""


class UrlRefusedError(PermanentError, ValueError):
    """Penstock does not call this URL."""
