"""From a message to the keeper: read, offer, and nothing else in the event loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jobs.failpoints import passed, reached
from tasks import messages
from worker.admission import Doorbell


def strategy(_task: Any, _app: Any, consumer: Any) -> Callable[..., None]:
    """Return what Celery's consumer calls with each message of a task (Celery's `Task.Strategy`)."""
    keeper = consumer.controller.keeper

    def receive(message: Any, _body: Any, _ack: Any, _reject: Any, _callbacks: Any) -> None:
        if message.content_type != messages.CONTENT_TYPE:
            raise messages.UnreadableMessage("The message is not JSON.")
        ring = messages.read(message.headers)
        here = consumer.connection
        doorbell = Doorbell(
            acknowledge=partial(answer, consumer, here, message.ack),
            requeue=partial(answer, consumer, here, message.requeue),
            open_count=len(ring.jobs),
        )
        reached("start.receive")
        keeper.offer(ring, doorbell)
        passed("start.receive")

    return receive


def answer(consumer: Any, connection: Any, reply: Callable[[], None]) -> None:
    """Answer the broker, unless the connection that brought the message is gone: the broker then repeats it.

    An error is one of the connection: it ends this one. kombu's own way, to log it and go on, would have each
    further answer wait in vain for a server that hangs.
    """
    if consumer.connection is connection:
        reply()
