"""Connections to the broker that live and bring nothing, in either direction: each part notices and connects anew."""

from typing import Final

import pytest

from tests.conformance.site import ROLES, Crowd, Site

NOTICED_SECONDS: Final = 60.0
"""With default settings: 25 s of AMQP's heartbeat, 10 s of a confirm, 11 s of a Redis poll, and a busy machine."""


@pytest.mark.parametrize("role", ROLES)
def test_connections_that_a_firewall_forgot_are_given_up(site: Site, role: str) -> None:
    pids = site.pids()
    site.finished([site.submit("demo.noop")])
    crowd = Crowd(site)

    site.proxies[role].forget()
    with crowd.submitting():
        crowd.goes_on(60)
        late = site.submit("demo.noop", delay_seconds=1)

    site.finished([*crowd.ids, late], NOTICED_SECONDS)
    assert crowd.statuses == {202}
    assert site.pids() == pids


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
