"""From a message to the keeper: read, offer, and nothing else in the event loop."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from tasks import messages
from worker.admission import Doorbell

logger = logging.getLogger(__name__)


def strategy(_task: Any, _app: Any, consumer: Any) -> Callable[..., None]:
    """Return what Celery's consumer calls with each message of a task (Celery's `Task.Strategy`)."""
    keeper, broken = consumer.controller.keeper, consumer.connection_errors

    def receive(message: Any, _body: Any, _ack: Any, _reject: Any, _callbacks: Any) -> None:
        ring = messages.read(message.headers)
        doorbell = Doorbell(
            acknowledge=partial(message.ack_log_error, logger, broken),
            requeue=partial(message.reject_log_error, logger, broken, requeue=True),
            open_count=len(ring.jobs),
        )
        keeper.offer(ring, doorbell)

    return receive
