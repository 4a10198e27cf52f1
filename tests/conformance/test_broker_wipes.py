"""The broker forgets everything while clients submit and workers run; default settings hold what is promised."""

import itertools
from collections.abc import Callable
from typing import Any, Final

from redis import Redis

from tests.chaos.brokers import ChaosRabbit
from tests.conformance.site import Crowd, Server, Site
from tests.services.stack import eventually

STRANDED_SECONDS: Final = 30.0
"""From the wipe to the start of whatever was waiting then."""
WAITING: Final = 400
"""More than the workers hold at hand, 32 for each slot: the rest of them is in the broker."""
IN_BROKER: Final = 100
WIPES: Final = 4
SUBMITTED: Final = 60
"""Jobs between two wipes: about two seconds of them."""


def everything(server: Server) -> None:
    server.wipe(server.wipes[0])


def messages(server: Server) -> None:
    """Take the messages and leave what they lie in."""
    if isinstance(server, ChaosRabbit):
        server.wipe("queues purged")
        return
    forget(server.url, "default*")


def surroundings(server: Server) -> None:
    """Take what the messages find their way by, and what the libraries keep beside them."""
    if isinstance(server, ChaosRabbit):
        for exchange in ("penstock", "penstock.dead"):
            server._manage("DELETE", f"exchanges/%2F/{exchange}")
        return
    forget(server.url, "_kombu*")
    forget(server.url, "unacked*")


def forget(url: str, pattern: str) -> None:
    with Redis.from_url(url) as client:
        for key in client.scan_iter(pattern):
            client.delete(key)


WAYS: Final[tuple[Callable[[Server], None], ...]] = (everything, messages, surroundings)


def test_what_a_wipe_strands_starts_within_half_a_minute_and_nothing_runs_twice(site: Site) -> None:
    pids = site.pids()
    crowd = Crowd(site)
    with crowd.submitting("demo.sleep", seconds=0.02):
        waiting = site.submit_batch(WAITING, "demo.sleep", seconds=0.05)
        eventually(lambda: site.depth() > IN_BROKER, 20, "the doorbells are in the broker")
        wiped_at = site.now()
        everything(site.server)
        crowd.goes_on(60)

    site.finished([*crowd.ids, *waiting])

    assert crowd.statuses == {202}
    stranded = starts_after(site, wiped_at)
    assert len(stranded) > IN_BROKER, "the wipe met jobs that waited"
    assert max(stranded) <= STRANDED_SECONDS
    assert site.pids() == pids


def test_one_wipe_after_another_of_every_kind_loses_nothing(site: Site) -> None:
    pids = site.pids()
    crowd = Crowd(site)
    ways = itertools.cycle(WAYS)
    with crowd.submitting("demo.sleep", seconds=0.05):
        for way in itertools.islice(ways, WIPES):
            wiped_at = site.now()
            way(site.server)
            crowd.goes_on(SUBMITTED)

    site.finished(crowd.ids)

    assert crowd.statuses == {202}
    assert max(starts_after(site, wiped_at), default=0) <= STRANDED_SECONDS
    assert site.pids() == pids


def starts_after(site: Site, wiped_at: Any) -> list[float]:
    """Return how many seconds after the wipe those jobs started that had been accepted before it and not started."""
    query = (
        "SELECT extract(epoch FROM started_at - :at) FROM jobs"
        " WHERE created_at < :at AND started_at > :at AND id IN (SELECT job_id FROM attempts)"
    )
    return [float(seconds) for (seconds,) in site.ask(query, at=wiped_at)]
