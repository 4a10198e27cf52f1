"""Messages from RabbitMQ whose properties py-amqp cannot read."""

import struct
from typing import Any

import structlog
from amqp.basic_message import Message
from amqp.exceptions import FrameSyntaxError

log = structlog.get_logger()


class StrangersMessage(Message):
    """A message that comes without properties where these cannot be read: nobody knows its task, and it is buried.

    A text that is not UTF-8, or a time after the year 9999, raises in py-amqp 5.4 while it reads the frame. That would
    end each worker to which RabbitMQ hands the message.
    """

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> Any:
        try:
            return super()._load_properties(class_id, buf, offset)  # type: ignore[misc]  # the stubs leave it out
        except (ValueError, OverflowError, LookupError, struct.error, FrameSyntaxError) as error:
            log.warning("properties_unreadable", reason=type(error).__name__)
            self.properties = {}
            return offset
