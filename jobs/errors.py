"""Every error of Penstock's own, as one tree.

::

    PenstockError
    ├── JobError                      what a task may raise to say how its attempt ended
    │   ├── PermanentError            no retry will help
    │   ├── Throttled                 told to come back later; burns no attempt
    │   └── AttemptStopped            this attempt may not go on
    │       ├── AttemptFenced         a later attempt has begun, or the lease is gone
    │       └── JobCancelled          someone cancelled the job
    ├── RefusedError                  a request that cannot be accepted; nothing was stored
    │   ├── UnknownTask
    │   ├── UnknownQueue
    │   ├── InvalidPayload
    │   ├── InvalidJob
    │   ├── UniqueKeyTaken
    │   ├── IdempotencyKeyReused
    │   ├── MalformedIdempotencyKey
    │   └── InvalidCursor
    ├── NotFound
    ├── StaleTransition               the job was not in a state that allows the event
    ├── ReadOnly                      edited somewhere else
    ├── PreconditionFailed            it is not what the client knows
    ├── Unavailable                   a dependency is away; come back later
    │   ├── DatabaseUnavailable
    │   │   └── OutcomeUnknown        it went away while it committed
    │   ├── SchemaHeld                a migration waits for a table that somebody holds
    │   └── BrokerUnavailable
    └── ConfigurationError            the process must not start like this

A class's docstring is its default message.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any


class PenstockError(Exception):
    """Something went wrong inside Penstock."""

    def __init__(self, message: str | None = None) -> None:
        """Carry `message`, or the class's docstring."""
        super().__init__(message or type(self).__doc__)


class JobError(PenstockError):
    """The attempt ended early."""


class PermanentError(JobError):
    """No retry will help: the job fails at once and becomes a dead letter."""


class Throttled(JobError):
    """The other side asks for patience: the job runs again later and no attempt is burned."""

    def __init__(self, message: str | None = None, *, retry_after: timedelta) -> None:
        """Carry how long the other side asked us to wait."""
        super().__init__(message)
        self.retry_after = retry_after


class AttemptStopped(JobError):
    """This attempt may not go on."""


class AttemptFenced(AttemptStopped):
    """The lease is gone or a later attempt has begun: nothing that this attempt writes will be accepted."""


class JobCancelled(AttemptStopped):
    """The job was cancelled while it ran."""


class RefusedError(PenstockError):
    """The request cannot be accepted, and nothing was stored."""

    def __init__(
        self,
        message: str | None = None,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        index: int | None = None,
        **facts: Any,
    ) -> None:
        """Carry the offending fields in `errors`, the offending item of a batch in `index`."""
        super().__init__(message)
        self.errors = list(errors)
        self.index = index
        self.facts = facts


class UnknownTask(RefusedError):
    """No task of that name is installed."""


class UnknownQueue(RefusedError):
    """No queue of that name is configured."""


class InvalidPayload(RefusedError):
    """The payload does not fit the task's signature."""


class InvalidJob(RefusedError):
    """The job's options do not fit together."""


class UniqueKeyTaken(RefusedError):
    """An unfinished job holds this unique key."""


class IdempotencyKeyReused(RefusedError):
    """This Idempotency-Key was used for a different request."""


class MalformedIdempotencyKey(RefusedError):
    """An Idempotency-Key is 1 to 255 printable ASCII characters, quoted or not."""


class InvalidCursor(RefusedError):
    """The cursor was not made by this list, or its filters have changed."""


class NotFound(PenstockError):
    """There is no such thing, or it is not yours."""


class StaleTransition(PenstockError):
    """The job is not in a state that allows this."""

    def __init__(self, message: str | None = None, *, state: str | None = None) -> None:
        """Carry the state in which the job was found."""
        super().__init__(message)
        self.state = state


class ReadOnly(PenstockError):
    """This is not edited here."""


class PreconditionFailed(PenstockError):
    """It has changed since you read it: read it again, and decide anew."""

    def __init__(self, message: str | None = None, *, tag: str | None = None) -> None:
        """Carry the tag that it has now; None: it is not there."""
        super().__init__(message)
        self.tag = tag


class Unavailable(PenstockError):
    """A part that this needs is away; the same request will work later."""


class DatabaseUnavailable(Unavailable):
    """PostgreSQL does not answer; nothing was stored."""


class OutcomeUnknown(DatabaseUnavailable):
    """PostgreSQL went away while it committed: look, or ask again with the same Idempotency-Key, to know."""


class SchemaHeld(Unavailable):
    """Somebody holds a table that the migration needs; what it did before that stands."""


class BrokerUnavailable(Unavailable):
    """The broker does not answer."""


class ConfigurationError(PenstockError):
    """A setting is missing or impossible."""
