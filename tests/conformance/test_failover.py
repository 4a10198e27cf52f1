"""PostgreSQL's machine is lost, and a standby that has every acknowledged commit takes its place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine, func, select

from deploy.stack.postgres import PostgresServer
from jobs.migrations import upgrade
from jobs.tables import jobs
from tests.services import plain
from tests.services.api import running_api
from tests.services.api_process import new_key
from tests.services.databases import connect_to
from tests.services.fixtures import running
from tests.services.insistent import Insistent, settled
from tests.services.processes import all_processes
from tests.services.proxy import Proxy
from tests.services.standby import Standby, either, lose_machine_of, make_synchronous, until_somebody_waits

NOOP: Final = {"task": "demo.noop"}
ACROSS: Final = {"task": "demo.sleep", "payload": {"seconds": 6}}
"""Runs while PostgreSQL changes its machine."""


@dataclass
class Pair:
    """A primary, and the standby that follows it in step."""

    primary: PostgresServer
    standby: Standby
    way: Proxy
    """Of what the standby is sent."""

    @property
    def url(self) -> str:
        return either(self.primary, self.standby)

    def fail_over(self) -> None:
        self.way.refuse()
        lose_machine_of(self.primary)
        self.standby.promote()


@pytest.fixture
def pair(services_home: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    home = services_home / f"pair-{request.node.name[:24]}"
    with running(PostgresServer(home / "primary", durable=False)) as primary:
        with opened(primary.url) as engine:
            upgrade(engine)
        with Proxy("127.0.0.1", primary.port) as way, running(Standby(home / "standby", primary, way)) as standby:
            make_synchronous(primary)
            yield Pair(primary, standby, way)


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = connect_to(url)
    try:
        yield engine
    finally:
        engine.dispose()


def test_nothing_that_was_acknowledged_is_lost_when_a_synchronous_standby_takes_over(
    pair: Pair, tmp_path: Path, broker_url: str
) -> None:
    with all_processes(tmp_path, pair.url, broker_url) as site:
        client, across = Insistent(site.client), Insistent(site.client, ACROSS)
        with across.submitting():
            across.goes_on(1)
        with client.submitting():
            client.goes_on(40)
            pair.way.swallow()
            until_somebody_waits(pair.primary)
            pair.fail_over()
            client.goes_on(40)

        assert client.statuses <= {202, 503}
        settled(site.engine, client.ids + across.ids)


def test_a_primary_that_comes_back_alone_acknowledges_nothing(pair: Pair, broker_url: str) -> None:
    with opened(pair.primary.url) as engine:
        headers = {"Authorization": f"Bearer {new_key(engine)}", "Idempotency-Key": "split"}
    pair.fail_over()
    pair.primary.start()

    soon = {"database_statement_timeout_seconds": 0.9, "database_answer_seconds": 0.5}
    with running_api(pair.primary.url, broker_url, **soon) as old:
        refused = plain.post(f"{old.url}/api/v1/jobs", json=NOOP, headers=headers, timeout=30)
    with running_api(pair.standby.url, broker_url) as new:
        accepted = plain.post(f"{new.url}/api/v1/jobs", json=NOOP, headers=headers, timeout=30)

    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/outcome-unknown")
    assert accepted.status_code == 202
    assert "idempotency-replayed" not in accepted.headers
    with opened(pair.standby.url) as engine, engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(jobs)) == 1
