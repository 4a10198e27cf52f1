"""What operators see of queues and workers, and how they pause and resume."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, update

from jobs import attempts, registry
from jobs.database import transaction
from jobs.tables import workers
from tests.services.api import Api, Person, running_api


@pytest.fixture
def own_api(database_url: str, broker_url: str) -> Iterator[Api]:
    """An API on a database of its own: queues and workers belong to no tenant."""
    with running_api(database_url, broker_url) as served:
        yield served


def employ(api: Api, name: str = "worker-1", **facts: Any) -> None:
    known = {"host": "h", "pid": 7, "queues": ["default"], "slots": 4, "release": "1.2", "tasks": ["demo.noop"]}
    with transaction(api.engine) as connection:
        registry.announce(connection, name=name, **known | facts)


def seen(person: Person, name: str = "default") -> dict[str, Any]:
    found: list[dict[str, Any]] = person.get("/queues").json()["queues"]
    return next(queue for queue in found if queue["name"] == name)


def test_a_queue_tells_what_is_in_it_and_who_works_on_it(own_api: Api) -> None:
    person = own_api.person()
    assert seen(person)["waiting"] == 0
    for _ in range(3):
        person.accepted()
    person.accepted(delay_seconds=60)
    employ(own_api)
    with transaction(own_api.engine) as connection:
        registry.beat(connection, "worker-1", running=2, rates={"default": 1.5})

    queue = seen(person)

    assert {name: queue[name] for name in ("waiting", "running", "scheduled", "retrying")} == {
        "waiting": 3, "running": 0, "scheduled": 1, "retrying": 0
    }  # fmt: skip
    assert (queue["workers"], queue["slots"], queue["slots_busy"], queue["out_per_second"]) == (1, 4, 2, 1.5)
    assert datetime.fromisoformat(queue["oldest_waiting_at"]).tzinfo is not None
    assert queue["in_per_second"] == pytest.approx(4 / 60, abs=0.001)
    assert (queue["is_paused"], queue["paused_at"]) == (False, None)


def test_a_queue_is_paused_and_resumed_and_its_jobs_say_why_they_wait(own_api: Api) -> None:
    person = own_api.person()
    employ(own_api)
    job_id = person.accepted()

    paused = person.post("/queues/default/pause")
    assert (paused.status_code, paused.json()["is_paused"]) == (200, True)
    assert seen(person)["is_paused"]
    again = person.post("/queues/default/pause").json()
    assert again["paused_at"] == paused.json()["paused_at"]
    why = person.get(f"/jobs/{job_id}/explain").json()
    assert (why["cause"], why["since"], why["also"]) == ("queue_paused", paused.json()["paused_at"], [])
    assert why["facts"]["paused_by"] == paused.json()["paused_by"] == person.key_id

    resumed = person.post("/queues/default/resume")
    assert (resumed.status_code, resumed.json()["is_paused"]) == (200, False)
    assert person.get(f"/jobs/{job_id}/explain").json()["cause"] == "waiting_turn"


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_queue_that_there_is_not_is_not_found_and_those_that_there_are_are_named(api: Api, verb: str) -> None:
    answer = api.person().post(f"/queues/nowhere/{verb}")

    assert answer.status_code == 404
    assert "default" in answer.json()["detail"]


def test_workers_are_listed_with_the_jobs_of_the_tenant_that_they_run(own_api: Api) -> None:
    person, other = own_api.person(), own_api.person()
    employ(own_api)
    employ(own_api, "worker-2")
    with transaction(own_api.engine) as connection:
        registry.leave(connection, "worker-2")
    mine = person.accepted()
    with transaction(own_api.engine) as connection:
        attempts.start(connection, [mine], worker="worker-1")

    found = {worker["name"]: worker for worker in person.get("/workers").json()["workers"]}

    assert {name: worker["is_alive"] for name, worker in found.items()} == {"worker-1": True, "worker-2": False}
    assert [job["id"] for job in found["worker-1"]["running"]] == [str(mine)]
    assert (found["worker-1"]["release"], found["worker-1"]["slots"], found["worker-1"]["pid"]) == ("1.2", 4, 7)
    assert found["worker-2"]["stopped_at"] is not None
    theirs = other.get("/workers").json()["workers"]
    assert all(worker["running"] == [] for worker in theirs)


def test_workers_that_were_not_seen_for_an_hour_are_listed_on_demand(own_api: Api) -> None:
    person = own_api.person()
    for name, minutes in (("now", 0), ("silent", 59), ("old", 61), ("older", 600)):
        employ(own_api, name)
        with transaction(own_api.engine) as connection:
            at = func.clock_timestamp() - timedelta(minutes=minutes)
            connection.execute(update(workers).where(workers.c.name == name).values(seen_at=at))

    def names(query: str) -> list[str]:
        return [worker["name"] for worker in person.get(f"/workers{query}").json()["workers"]]

    assert names("") == names("?all=false") == ["now", "silent"]
    assert names("?all=true") == ["now", "silent", "old", "older"]
    assert person.get("/workers?all=perhaps").status_code == 422


def test_a_list_of_workers_is_bounded_to_those_seen_last(own_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MOST_LISTED", 2)
    for name in ("first", "second", "third"):
        employ(own_api, name)

    for query in ("", "?all=true"):
        found = own_api.person().get(f"/workers{query}").json()["workers"]
        assert [worker["name"] for worker in found] == ["third", "second"]
    assert seen(own_api.person())["workers"] == 3


def test_a_job_of_another_tenant_is_not_explained(api: Api) -> None:
    job_id = api.person().accepted()

    assert api.person().get(f"/jobs/{job_id}/explain").status_code == 404
