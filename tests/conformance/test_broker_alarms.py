"""The broker takes nothing, or says nothing: intake goes on, running jobs end, and what waits runs afterwards."""

from contextlib import AbstractContextManager
from typing import Final

import pytest

from tests.conformance.site import Crowd, Site
from tests.services.stack import eventually

TROUBLES: Final = ("no memory", "no room or time", "frozen")
"""RabbitMQ: memory alarm, disk alarm, SIGSTOP. Valkey: maxmemory, CLIENT PAUSE, SIGSTOP."""
TROUBLE_SECONDS: Final = 15.0
"""Of CLIENT PAUSE, which cannot be ended earlier."""
NOTICED_SECONDS: Final = 60.0
SLOWER: Final = 10
"""How many times as long an answer may take; a broker that is waited for costs thousands of times as long."""
GROWTH_BYTES: Final = 48 * 2**20
BATCH: Final = 1000


def in_trouble(site: Site, trouble: str) -> AbstractContextManager[None]:
    if trouble == "frozen":
        return site.frozen()
    held: AbstractContextManager[None] = site.server.alarmed(
        site.server.alarms[TROUBLES.index(trouble)], TROUBLE_SECONDS
    )
    return held


@pytest.mark.parametrize("trouble", TROUBLES)
def test_intake_and_running_jobs_go_on_beside_a_broker_in_trouble(site: Site, trouble: str) -> None:
    pids = site.pids()
    before, during = Crowd(site), Crowd(site)
    with before.submitting():
        before.goes_on(40)
    long = [site.submit("demo.sleep", payload={"seconds": seconds}) for seconds in (2, 4)]
    for job_id in long:
        site.running(job_id)
    held = site.api_bytes()

    with in_trouble(site, trouble):
        with during.submitting():
            during.goes_on(100)
            batch = site.submit_batch(BATCH, "demo.noop")
        site.finished(long, NOTICED_SECONDS)
        if trouble == "frozen":
            eventually(lambda: unrung(site, during.ids[0]), NOTICED_SECONDS, "the doorbell is given back")
        grown = site.api_bytes() - held
        ran_meanwhile = started(site, [*during.ids, *batch])
    site.finished([*before.ids, *during.ids, *batch])

    assert during.statuses == {202}
    assert during.median < SLOWER * before.median + 0.05
    assert max(during.seconds) < 5
    assert grown < GROWTH_BYTES
    assert ran_meanwhile < len(during.ids) + BATCH, "the broker was in trouble"
    assert site.pids() == pids


def started(site: Site, ids: list[str]) -> int:
    query = "SELECT count(*) FROM attempts WHERE job_id = ANY(CAST(:ids AS uuid[]))"
    return int(site.ask(query, ids=ids)[0][0])


def unrung(site: Site, job_id: str) -> bool:
    query = "SELECT count(*) FROM jobs WHERE id = CAST(:id AS uuid) AND rung_at IS NULL"
    return bool(site.ask(query, id=job_id)[0][0])
