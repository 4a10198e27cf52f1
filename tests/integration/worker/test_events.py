"""Events reach whoever listens, and nobody waits for them."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from amqp.exceptions import ChannelError
from celery import Celery

from tasks.topology import transport_options
from tests.services.brokers import each_broker
from tests.services.proxy import Proxy
from tests.services.stack import eventually
from worker import events
from worker.events import MOST_WAITING, EventPost, enable_events


@pytest.fixture
def proxy(broker_url: str) -> Iterator[Proxy]:
    port = int(broker_url.rpartition("@")[2].partition("/")[0].partition(":")[2])
    with Proxy("127.0.0.1", port) as made:
        yield made


@pytest.fixture
def app(broker_url: str, proxy: Proxy) -> Celery:
    url = proxy.through(broker_url)
    made = Celery("events", broker=url, set_as_current=False)
    made.conf.broker_transport_options = {**transport_options(url), "socket_timeout": 1}
    made.events.dispatcher_cls = "worker.events:EventPost"
    return made


@pytest.fixture
def post(app: Celery) -> Iterator[EventPost]:
    made: EventPost = app.events.Dispatcher(app.connection_for_write(), hostname="me")
    yield made
    made.close()
    made.connection.close()


class Listener:
    """Collects what is told, until it has heard the word."""

    def __init__(self, app: Celery) -> None:
        self.heard: list[Any] = []
        self._connection = app.connection_for_read()
        self._receiver = app.events.Receiver(self._connection, handlers={"*": self._hear})
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _hear(self, event: dict[str, Any]) -> None:
        self.heard.append(event.get("word"))
        self._receiver.should_stop = "end" in self.heard

    def _listen(self) -> None:
        self._receiver.capture(limit=None, timeout=30, wakeup=False)

    def close(self) -> None:
        self._thread.join(30)
        self._connection.close()


@each_broker
def test_what_is_told_arrives_in_order(app: Celery, post: EventPost) -> None:
    listener = Listener(app)
    try:
        eventually(lambda: post.send("worker-heartbeat", word="hello") or listener.heard, 20, "somebody listens")
        for word in ("one", "two", "end"):
            post.send("worker-heartbeat", word=word)
    finally:
        listener.close()

    assert listener.heard[-3:] == ["one", "two", "end"]


@each_broker
def test_nobody_waits_for_a_broker_that_says_nothing(app: Celery, post: EventPost, proxy: Proxy) -> None:
    proxy.swallow()

    began = time.monotonic()
    for number in range(2 * MOST_WAITING):
        post.send("worker-heartbeat", word=number, retry=True)
    took = time.monotonic() - began

    assert took < 2
    assert len(post._waiting) <= MOST_WAITING
    proxy.heal()


@each_broker
def test_events_go_on_when_the_broker_is_back(app: Celery, post: EventPost, proxy: Proxy) -> None:
    post.send("worker-heartbeat", word="before")
    proxy.refuse()
    for _ in range(3):
        post.send("worker-heartbeat", word="meanwhile")
    proxy.heal()

    listener = Listener(app)
    try:
        eventually(
            lambda: post.send("worker-heartbeat", word="end") or "end" in listener.heard, 20, "it is heard again"
        )
    finally:
        listener.close()


class Asked:
    """What Celery hands to a remote control command."""

    def __init__(self, post: EventPost) -> None:
        self.consumer = self
        self.event_dispatcher = post


def test_events_of_jobs_are_sent_for_as_long_as_someone_asks_for_them(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    post: EventPost = app.events.Dispatcher(app.connection_for_write(), hostname="me", groups=["worker"])
    try:
        before = post.tells_of_jobs
        enable_events(Asked(post))
        asked = post.tells_of_jobs
        post.send("worker-heartbeat")
        eventually(lambda: not post._waiting, 20, "it is sent")
        still = post.tells_of_jobs

        monkeypatch.setattr(events, "ASKED_FOR", 0.0)
        eventually(lambda: post.send("worker-heartbeat") or not post.tells_of_jobs, 20, "nobody asks any more")
    finally:
        post.close()
        post.connection.close()

    assert (before, asked, still) == (False, True, True)


@each_broker
def test_what_a_monitor_does_not_take_is_not_kept_for_it(app: Celery, post: EventPost) -> None:
    app.conf.event_queue_ttl = 1.0
    with app.connection_for_read() as connection:
        queue = app.events.Receiver(connection).queue(connection.default_channel)
        queue.declare()

        for number in range(500):
            post.send("worker-heartbeat", word=number)
        eventually(lambda: not post._waiting, 20, "all is sent")

        eventually(lambda: kept(queue) == 0, 20, "nothing is kept")


def kept(queue: Any) -> int:
    """Return how many messages the broker has for a queue; Valkey passes events on and knows of no queue."""
    try:
        return int(queue.queue_declare(passive=True).message_count)
    except ChannelError:
        return 0
