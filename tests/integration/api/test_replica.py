"""Lists come from a real streaming replica where it is fit, and from the primary otherwise."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import psycopg
import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner

from api.patience import PATIENCE
from api.replica import READ_WITHIN
from deploy.cli.main import app as command
from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from tests.integration.api.test_control import failed
from tests.services.api import Api, Person, running_api
from tests.services.databases import migrate
from tests.services.fixtures import running
from tests.services.proxy import Proxy
from tests.services.stack import eventually
from tests.services.standby import Standby, lose_machine_of

pytestmark = pytest.mark.xdist_group("replica")

FOLLOW_SECONDS: Final = 60.0
LONG: Final = 3600.0
"""A bound that no test comes to."""
FROM: Final = "penstock-read-from"
OF_REPLICA: Final = re.compile(r"replica;age=[0-9]+\.[0-9]{3}")


@dataclass
class Pair:
    """A primary, and the standby that follows it."""

    primary: PostgresServer
    standby: Standby
    way: Proxy
    """Of what the standby is sent."""
    broker_url: str

    @contextmanager
    def api(self, lag_seconds: float = LONG, **settings: Any) -> Iterator[Api]:
        """Run an API that has this replica, and by now reads from it."""
        told = {"database_replica_url": self.standby.url, "replica_lag_seconds": lag_seconds} | settings
        with running_api(self.primary.url, self.broker_url, **told) as api:
            yield api


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer, services_home: Any) -> Iterator[Pair]:
    """Two servers for all tests here; each test leaves them well."""
    home = services_home / f"replica-{uuid.uuid4().hex[:8]}"
    with running(PostgresServer(home / "primary", durable=False)) as primary:
        migrate(primary.url)
        with Proxy("127.0.0.1", primary.port) as way, running(Standby(home / "standby", primary, way)) as standby:
            yield Pair(primary, standby, way, valkey_server.url)


@contextmanager
def paused(standby: Standby) -> Iterator[None]:
    standby.pause()
    try:
        yield
    finally:
        standby.go_on()


@contextmanager
def lost(standby: Standby) -> Iterator[None]:
    lose_machine_of(standby)
    try:
        yield
    finally:
        standby.restart()


def replica_of(person: Person) -> Any:
    return person.http.get("/ready").json()["dependencies"]["replica"]


def is_used(person: Person) -> bool:
    return bool(replica_of(person)["ok"])


def reader(api: Api) -> Person:
    """Return somebody whose lists come from the replica: their key is older than what it shows."""
    person = api.person()
    eventually(lambda: is_used(person), FOLLOW_SECONDS, "the replica is used")
    return person


def came_from(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.headers[FROM]).partition(";")[0]


def listed(person: Person, path: str = "/jobs", name: str = "jobs", **options: Any) -> tuple[str, set[uuid.UUID]]:
    answer = person.get(path, **options)
    return came_from(answer), {uuid.UUID(one["id"]) for one in answer.json()[name]}


def counted(person: Person, source: str) -> float:
    found = re.search(
        rf'^penstock_replica_reads_total{{from="{source}"}} (\S+)', person.http.get("/metrics").text, re.MULTILINE
    )
    return float(found[1]) if found else 0.0


def lag_in(metrics: str) -> float:
    found = re.search(r"^penstock_replica_lag_seconds (\S+)", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def change(pair: Pair, *statements: str) -> None:
    with psycopg.connect(pair.primary.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def with_role(pair: Pair, *statements: str) -> str:
    """Return the replica's url for a role that may read the tables and no more; `statements` are run too."""
    name, password = f"reader_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    made = f"CREATE ROLE {name} LOGIN PASSWORD '{password}'"
    change(pair, made, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}", *statements)
    return make_url(pair.standby.url).set(username=name, password=password).render_as_string(hide_password=False)


def test_lists_come_from_the_replica_and_say_how_old_they_may_be(pair: Pair) -> None:
    with pair.api() as api:
        person = reader(api)
        job_id = person.accepted()
        eventually(lambda: listed(person) == ("replica", {job_id}), FOLLOW_SECONDS, "the replica has the job")

        for path in ("/jobs?state=queued&queue=default", "/dead-letters"):
            answer = person.get(path)
            assert OF_REPLICA.fullmatch(answer.headers[FROM])
        assert "penstock-lists" in pair.standby.visitors()
        assert counted(person, "replica") >= 3
        assert counted(person, "primary") == 0


def test_what_the_replica_has_not_replayed_yet_is_on_no_list_and_everywhere_else(pair: Pair) -> None:
    with pair.api() as api:
        person = reader(api)
        before = person.accepted()
        eventually(lambda: listed(person) == ("replica", {before}), FOLLOW_SECONDS, "the replica has the job")
        with paused(pair.standby):
            job_id = person.accepted()

            assert listed(person) == ("replica", {before})
            assert listed(person, headers={"Cache-Control": "no-cache"}) == ("primary", {before, job_id})
            for path in (
                f"/jobs/{job_id}",
                f"/jobs/{job_id}/events",
                f"/jobs/{job_id}/attempts",
                f"/jobs/{job_id}/explain",
            ):
                answer = person.get(path)
                assert answer.status_code == 200, path
                assert FROM not in answer.headers
            assert person.get(f"/jobs/{job_id}", params={"wait_seconds": 0.1}).json()["state"] == "queued"

        eventually(lambda: listed(person) == ("replica", {before, job_id}), FOLLOW_SECONDS, "the replica follows")


def test_no_decision_is_taken_by_the_replica(pair: Pair) -> None:
    with pair.api() as api:
        person = reader(api)
        with paused(pair.standby):
            job_id = person.accepted(headers={"Idempotency-Key": "k"})

            again = person.submit(headers={"Idempotency-Key": "k"})
            assert (again.json()["id"], again.headers["idempotency-replayed"]) == (str(job_id), "true")
            assert person.post("/jobs/batch", json={"jobs": [{"task": "demo.noop"}]}).status_code == 202
            assert person.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelled"
            assert person.post(f"/jobs/{job_id}/retry").json()["state"] == "queued"
            assert person.post(f"/jobs/{job_id}/cancel").status_code == 202
            assert person.post(f"/jobs/{job_id}/replay").status_code == 201
            schedule = {"cron": "30 2 * * *", "zone": "Europe/Berlin", "task": "demo.noop"}
            assert person.http.put("/api/v1/schedules/nightly", json=schedule).status_code == 201
            assert [one["name"] for one in person.get("/schedules").json()["schedules"]] == ["nightly"]
            assert "penstock-lists" not in pair.standby.visitors()

        assert came_from(person.get("/jobs")) == "replica"
        assert "penstock-lists" in pair.standby.visitors()


def test_dead_letters_that_were_replayed_a_moment_ago_are_not_replayed_again_by_the_command(pair: Pair) -> None:
    with pair.api() as api:
        person = reader(api)
        job_id = failed(person)
        letters = ("/dead-letters", "dead_letters")
        eventually(lambda: listed(person, *letters) == ("replica", {job_id}), FOLLOW_SECONDS, "the replica has it")
        with paused(pair.standby):
            told = {"PENSTOCK_API_URL": api.url, "PENSTOCK_API_KEY": person.key}
            results = [CliRunner().invoke(command, ["replay", "--all", "--json"], env=told) for _ in range(2)]

            assert [result.exit_code for result in results] == [0, 0]
            assert person.stored() == 2, "the dead letter, and one replay of it"
            assert listed(person, *letters) == ("replica", {job_id})


def test_a_role_that_may_only_read_is_enough(pair: Pair) -> None:
    with pair.api(database_replica_url=with_role(pair)) as api:
        assert came_from(reader(api).get("/jobs")) == "replica"


def test_a_replica_that_is_too_far_behind_is_left_out_until_it_has_caught_up(pair: Pair) -> None:
    with pair.api(lag_seconds=2) as api:
        person = reader(api)
        with paused(pair.standby):
            job_id = person.accepted()

            eventually(lambda: listed(person) == ("primary", {job_id}), FOLLOW_SECONDS, "the primary is asked")
            eventually(lambda: not is_used(person), FOLLOW_SECONDS, "it is said to be behind")
            ready = person.http.get("/ready")
            assert (ready.status_code, ready.json()["status"]) == (200, "ready")
            assert "too far behind" in replica_of(person)["detail"]
            eventually(lambda: lag_in(person.http.get("/metrics").text) > 2, FOLLOW_SECONDS, "the lag is told")
            assert counted(person, "primary") >= 1

        eventually(lambda: listed(person) == ("replica", {job_id}), FOLLOW_SECONDS, "the replica is asked again")
        assert is_used(person)


def test_a_replica_that_is_cut_off_is_left_out_although_it_answers(pair: Pair) -> None:
    with pair.api(lag_seconds=2) as api:
        person = reader(api)
        pair.way.swallow()
        try:
            job_id = person.accepted()
            eventually(lambda: listed(person) == ("primary", {job_id}), FOLLOW_SECONDS, "the primary is asked")
        finally:
            pair.way.heal()
        eventually(lambda: listed(person) == ("replica", {job_id}), FOLLOW_SECONDS, "the replica is asked again")


def test_a_replica_of_an_idle_primary_is_not_behind(pair: Pair) -> None:
    with pair.api(lag_seconds=2) as api:
        person = reader(api)
        until = time.monotonic() + 5
        ages = []
        while time.monotonic() < until:
            answer = person.get("/jobs")
            ages.append(float(answer.headers[FROM].partition("age=")[2] or "inf"))

        assert sorted(ages)[len(ages) // 2] < 2


def test_lists_of_a_replica_that_is_killed_come_from_the_primary(pair: Pair) -> None:
    with pair.api() as api:
        person = reader(api)
        job_id = person.accepted()
        eventually(lambda: listed(person) == ("replica", {job_id}), FOLLOW_SECONDS, "the replica has the job")
        with lost(pair.standby):
            assert listed(person) == ("primary", {job_id})
            eventually(lambda: not is_used(person), FOLLOW_SECONDS, "it is said to be away")
            assert "does not answer" in replica_of(person)["detail"]
            assert person.http.get("/ready").status_code == 200
            assert person.submit().status_code == 202

        eventually(lambda: listed(person)[0] == "replica", FOLLOW_SECONDS, "the replica is asked again")


def test_a_list_that_meets_a_replica_that_has_just_gone_comes_from_the_primary(pair: Pair) -> None:
    with (
        Proxy("127.0.0.1", pair.standby.port) as there,
        pair.api(database_replica_url=there.through(pair.standby.url)) as api,
    ):
        person = reader(api)
        job_id = person.accepted()
        for _ in range(5):
            eventually(lambda: listed(person) == ("replica", {job_id}), FOLLOW_SECONDS, "the replica is asked")
            there.refuse()
            there.drop()
            assert listed(person) == ("primary", {job_id})
            there.heal()


def test_lists_of_a_replica_that_hangs_come_from_the_primary_in_time(pair: Pair) -> None:
    with pair.api() as api:
        person = reader(api)
        job_id = person.accepted()
        eventually(lambda: listed(person) == ("replica", {job_id}), FOLLOW_SECONDS, "the replica has the job")
        with pair.standby.frozen():
            began = time.monotonic()
            assert listed(person) == ("primary", {job_id})
            assert time.monotonic() - began < PATIENCE + READ_WITHIN
            eventually(lambda: not is_used(person), FOLLOW_SECONDS, "it is said to be away")

            began = time.monotonic()
            for _ in range(10):
                assert listed(person) == ("primary", {job_id})
            assert time.monotonic() - began < READ_WITHIN, "nobody waits for a replica that is known to hang"
            assert person.submit().status_code == 202

        eventually(lambda: listed(person)[0] == "replica", FOLLOW_SECONDS, "the replica is asked again")


def test_pages_go_on_across_a_switch_and_leave_nothing_out(pair: Pair) -> None:
    with pair.api() as api:
        person = reader(api)
        old = [person.accepted() for _ in range(3)]
        eventually(lambda: listed(person) == ("replica", set(old)), FOLLOW_SECONDS, "the replica has them")
        first = person.get("/jobs?limit=2")
        assert came_from(first) == "replica"
        with paused(pair.standby):
            new = [person.accepted() for _ in range(3)]

            # From the primary's first page on: the replica would leave out what is newer than it.
            found, cursor = [], ""
            for _ in range(3):
                page = person.get(f"/jobs?limit=2{cursor}", headers={} if cursor else {"Cache-Control": "no-cache"})
                assert came_from(page) == "primary"
                found += [uuid.UUID(one["id"]) for one in page.json()["jobs"]]
                cursor = f"&cursor={page.json()['next_cursor']}"
            assert found == [*reversed(new), *reversed(old)]

            # From the replica's own first page on.
            rest = person.get("/jobs", params={"limit": 2, "cursor": first.json()["next_cursor"]})
            assert came_from(rest) == "replica"
            assert [one["id"] for one in rest.json()["jobs"]] == [str(old[0])]

        with lost(pair.standby):
            rest = person.get("/jobs", params={"limit": 2, "cursor": first.json()["next_cursor"]})
            assert came_from(rest) == "primary"
            assert [one["id"] for one in rest.json()["jobs"]] == [str(old[0])]


@pytest.mark.parametrize("end", ["~", "~x", "~1~1", "~-1", "~11111111111111111"])
def test_a_cursor_with_a_damaged_end_is_refused(pair: Pair, end: str) -> None:
    with pair.api() as api:
        person = reader(api)
        for _ in range(2):
            person.accepted()
        cursor = person.get("/jobs?limit=1", headers={"Cache-Control": "no-cache"}).json()["next_cursor"]
        assert "~" in cursor

        refused = person.get("/jobs", params={"cursor": cursor.partition("~")[0] + end})

        assert (refused.status_code, refused.json()["type"]) == (400, "/problems/invalid-cursor")


def test_a_replica_that_does_not_say_where_it_is_is_not_read(pair: Pair) -> None:
    forbid = "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC"
    url = with_role(pair, forbid)
    try:
        with pair.api(database_replica_url=url) as api:
            person = api.person()
            eventually(lambda: "does not say" in replica_of(person)["detail"], FOLLOW_SECONDS, "it is seen")

            assert came_from(person.get("/jobs")) == "primary"
    finally:
        change(pair, "GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO PUBLIC")


def test_a_server_that_takes_writes_is_no_replica(pair: Pair) -> None:
    with pair.api(database_replica_url=pair.primary.url) as api:
        person = api.person()
        eventually(lambda: "no replica" in replica_of(person)["detail"], FOLLOW_SECONDS, "it is seen")

        assert came_from(person.get("/jobs")) == "primary"


def test_a_replica_of_another_database_is_not_read(pair: Pair, database_url: str) -> None:
    told = {"database_replica_url": pair.standby.url, "replica_lag_seconds": LONG}
    with running_api(database_url, pair.broker_url, **told) as api:
        person = api.person()
        eventually(lambda: "no copy" in replica_of(person)["detail"], FOLLOW_SECONDS, "it is seen")

        assert came_from(person.get("/jobs")) == "primary"


def test_without_a_replica_nothing_is_said_of_one_and_its_cursors_are_taken(pair: Pair) -> None:
    with pair.api() as api:
        person = reader(api)
        ids = [person.accepted() for _ in range(2)]
        cursor = person.get("/jobs?limit=1", headers={"Cache-Control": "no-cache"}).json()["next_cursor"]
    with running_api(pair.primary.url, pair.broker_url) as api:
        same = api.person(person.tenant)

        answer = same.get("/jobs", params={"limit": 1, "cursor": cursor})

        assert [one["id"] for one in answer.json()["jobs"]] == [str(ids[0])]
        assert FROM not in answer.headers
        assert "replica" not in same.http.get("/ready").json()["dependencies"]
