"""kombu's Redis transport, for lists into which anybody with the password may have pushed anything."""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger()


class ListChannel(redis.Channel):
    """A channel that takes an element which is no message of kombu's away, instead of ending its worker."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # the stubs leave it out
        except Exception as error:
            # kombu counts KeyError among the connection errors; here it says that the element lacks something.
            ours: Any = (Empty, *self.connection.connection_errors, *self.connection.channel_errors)
            if isinstance(error, ours) and not isinstance(error, KeyError):
                raise
            log.warning("element_unreadable", reason=type(error).__name__)
            return True


class ListTransport(redis.Transport):
    """The transport with that channel."""

    Channel = ListChannel
