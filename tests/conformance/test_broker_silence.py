"""Connections to the broker that live and bring nothing, in either direction: each part notices and connects anew."""

from functools import partial
from typing import Final

from tests.conformance.site import Crowd, Site
from tests.services.proxy import Proxy
from tests.services.stack import eventually

NOTICED_SECONDS: Final = 60.0
"""With default settings: 25 s of AMQP's heartbeat, 10 s of a confirm, 11 s of a Redis poll, and a busy machine."""


def test_connections_that_a_firewall_forgot_are_given_up_by_every_part(site: Site) -> None:
    pids = site.pids()
    site.finished([site.submit("demo.noop"), site.submit("demo.noop", delay_seconds=0.5)])
    known = {role: proxy.connections for role, proxy in site.proxies.items()}
    crowd = Crowd(site, rate=10)

    for proxy in site.proxies.values():
        proxy.forget()
    with crowd.submitting():
        late = site.submit("demo.noop", delay_seconds=1)
        for role, proxy in site.proxies.items():
            eventually(partial(connected_anew, proxy, known[role]), NOTICED_SECONDS, f"the {role} has connected anew")

    site.finished([*crowd.ids, late], NOTICED_SECONDS)
    assert crowd.statuses == {202}
    assert site.pids() == pids


def connected_anew(proxy: Proxy, known: int) -> bool:
    return proxy.connections > known


def test_a_network_that_is_silent_for_a_while_loses_nothing(site: Site) -> None:
    pids = site.pids()
    long = site.submit("demo.sleep", payload={"seconds": 3})
    site.running(long)
    crowd = Crowd(site)

    for proxy in site.proxies.values():
        proxy.swallow()
    try:
        with crowd.submitting():
            site.finished([long], NOTICED_SECONDS)
            crowd.goes_on(20)
    finally:
        for proxy in site.proxies.values():
            proxy.heal()

    site.finished(crowd.ids, NOTICED_SECONDS)
    assert crowd.statuses == {202}
    assert site.pids() == pids
