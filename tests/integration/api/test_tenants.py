"""What belongs to somebody else is not there."""

from typing import Any

import pytest

from tests.integration.api.problems import problem
from tests.integration.api.test_control import failed
from tests.integration.jobs import scenes
from tests.services import plain
from tests.services.api import Api, Person

NOWHERE = "01890000-0000-7000-8000-000000000000"
METHODS = {"get", "post", "put", "patch", "delete"}


def about_one_job(api: Api) -> list[tuple[str, str]]:
    """Return every operation on one job, from the document that the API gives of itself."""
    paths: dict[str, Any] = plain.get(f"{api.url}/openapi.json").json()["paths"]
    return [
        (method, path) for path, found in paths.items() if "{job_id}" in path for method in found if method in METHODS
    ]


def test_every_route_hides_the_jobs_of_others(api: Api, person: Person) -> None:
    job_id = failed(person)
    before = scenes.row(person.engine, job_id), scenes.told(person.engine, job_id)
    stranger = api.person()
    operations = about_one_job(api)

    assert len(operations) >= 8
    for method, path in operations:
        problem(stranger.http.request(method, path.format(job_id=job_id)), 404, "not-found")
    assert (scenes.row(person.engine, job_id), scenes.told(person.engine, job_id)) == before
    assert stranger.stored() == 0


def test_someone_elses_job_looks_just_like_none(api: Api, person: Person) -> None:
    job_id = str(failed(person))
    stranger = api.person()

    for method, path in about_one_job(api):
        told = []
        for one in (job_id, NOWHERE):
            body = problem(stranger.http.request(method, path.format(job_id=one)), 404, "not-found")
            del body["request_id"]
            told.append(str(body).replace(one, "ID"))
        assert told[0] == told[1]


def about_one_schedule(api: Api) -> list[tuple[str, str, dict[str, Any] | None]]:
    """Return every operation on one schedule, with a body where it needs one; all but PUT, which makes one."""
    paths: dict[str, Any] = plain.get(f"{api.url}/openapi.json").json()["paths"]
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    return [
        (method, path, span if path.endswith("backfill") else {} if method == "patch" else None)
        for path, found in paths.items()
        if "/schedules/{name}" in path
        for method in found
        if method in METHODS - {"put"}
    ]


def test_every_route_hides_the_schedules_of_others(api: Api, person: Person) -> None:
    body = {"task": "demo.noop", "every_seconds": 3600}
    mine = person.http.put("/api/v1/schedules/hourly", json=body).json()
    stranger = api.person()
    operations = about_one_schedule(api)

    assert len(operations) >= 9
    for method, path, content in operations:
        answer = stranger.http.request(method, path.format(name="hourly"), json=content)
        problem(answer, 404, "not-found")
    assert stranger.get("/schedules").json()["schedules"] == []
    assert stranger.http.put("/api/v1/schedules/hourly", json=body | {"every_seconds": 60}).status_code == 201
    assert person.get("/schedules/hourly").json() == mine
    assert (person.stored(), stranger.stored()) == (0, 0)


@pytest.mark.parametrize("job_id", ["x", "1", "01890000-0000-7000-8000-00000000000", "%00", "..%2f", "null"])
def test_what_is_no_id_is_not_found(api: Api, person: Person, job_id: str) -> None:
    for method, path in about_one_job(api):
        answer = person.http.request(method, path.format(job_id=job_id))
        assert answer.status_code == 404, (method, path)
        assert answer.json()["type"] == "/problems/not-found"


def test_an_id_is_read_in_capitals_too(person: Person) -> None:
    job_id = person.accepted()

    assert person.get(f"/jobs/{str(job_id).upper()}").json()["id"] == str(job_id)
