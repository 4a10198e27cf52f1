"""Every route below /api/v1 asks for a key, and tells strangers nothing."""

import time
from statistics import median

import pytest

from api.security import REMEMBERED_FOR
from deploy.stack.postgres import PostgresServer
from jobs import keys
from jobs.database import transaction
from tests.integration.api.problems import problem
from tests.services import plain
from tests.services.api import Api, Person, running_api
from tests.services.proxy import Proxy
from tests.services.stack import eventually

ID = "01890000-0000-7000-8000-000000000000"


def guarded(api: Api) -> list[tuple[str, str]]:
    """Return each operation below /api/v1, from the document that the API gives of itself."""
    paths = plain.get(f"{api.url}/openapi.json").json()["paths"]
    return [
        (method, path.replace("{job_id}", ID))
        for path, operations in paths.items()
        for method in operations
        if path.startswith("/api/v1")
    ]


def mistyped(key: str) -> str:
    """Return the key with two letters of its secret in the wrong order, which its checksum shows."""
    return key[:25] + key[26] + key[25] + key[27:] if key[25] != key[26] else mistyped_last(key)


def mistyped_last(key: str) -> str:
    """Return the key with another last letter."""
    return key[:-1] + ("a" if key[-1] != "a" else "b")


def with_other_secret(key: str) -> str:
    """Return a well-formed key of the same id and a secret that was never given out."""
    body = key[: len("pns_") + 16 + 1] + "A" * 43
    return body + keys._checksum(body)


def with_other_id(key: str) -> str:
    """Return a well-formed key of an id that does not exist."""
    body = "pns_" + "0" * 16 + key[20:-6]
    return body + keys._checksum(body)


def test_every_route_asks_for_a_key(api: Api) -> None:
    operations = guarded(api)

    assert len(operations) >= 13
    for method, path in operations:
        problem(plain.request(method, api.url + path), 401, "unauthorized")


@pytest.mark.parametrize(
    "credentials",
    [
        "", "Bearer", "Bearer x", "Basic dXNlcjpwYXNzd29yZA==", "Bearer pns_", "Bearer null",
        "Bearer pns_0123456789abcdef_" + "A" * 49, "Token {key}", "{key}", "Bearer {key}x", "Bearer x{key}",
        "Bearer \N{DIGIT ONE}\u00e9",
    ],
)  # fmt: skip
def test_what_is_no_key_opens_nothing(api: Api, person: Person, credentials: str) -> None:
    header = credentials.format(key=person.key).encode()

    answer = plain.get(f"{api.url}/api/v1/tasks", headers={b"Authorization": header})

    problem(answer, 401, "unauthorized")


@pytest.mark.parametrize("spoil", [mistyped, mistyped_last, with_other_secret, with_other_id, str.upper])
def test_a_key_that_is_nearly_right_is_wrong(api: Api, person: Person, spoil: object) -> None:
    assert callable(spoil)
    wrong = spoil(person.key)
    assert wrong != person.key

    problem(plain.get(f"{api.url}/api/v1/tasks", headers={"Authorization": f"Bearer {wrong}"}), 401, "unauthorized")


def test_a_stranger_is_told_the_same_whatever_is_wrong(api: Api, person: Person) -> None:
    told = set()
    for wrong in (mistyped(person.key), with_other_secret(person.key), with_other_id(person.key), "x"):
        body = plain.get(f"{api.url}/api/v1/tasks", headers={"Authorization": f"Bearer {wrong}"}).json()
        del body["request_id"]
        told.add(str(body))

    assert len(told) == 1


def test_an_unknown_id_costs_the_look_and_the_comparison_that_a_wrong_secret_costs(person: Person) -> None:
    wrong = {"secret": with_other_secret(person.key), "id": with_other_id(person.key)}
    seconds: dict[str, list[float]] = {name: [] for name in wrong}

    with transaction(person.engine) as connection:
        for _ in range(300):
            for name, key in wrong.items():
                began = time.perf_counter()
                assert keys.authenticate(connection, key) is None
                seconds[name].append(time.perf_counter() - began)

    assert 0.5 < median(seconds["secret"]) / median(seconds["id"]) < 2


def test_the_scheme_is_written_in_any_case(person: Person) -> None:
    assert person.get("/tasks", headers={"Authorization": f"bEARER {person.key}"}).status_code == 200


def test_a_key_comes_before_every_other_finding(api: Api) -> None:
    problem(plain.post(f"{api.url}/api/v1/jobs", content=b"nonsense"), 401, "unauthorized")
    problem(plain.get(f"{api.url}/api/v1/jobs", params={"limit": "x"}), 401, "unauthorized")


def test_a_revoked_key_stops_working_within_seconds(person: Person) -> None:
    assert person.get("/tasks").status_code == 200

    with transaction(person.engine) as connection:
        keys.revoke_key(connection, person.key_id)

    eventually(lambda: person.get("/tasks").status_code == 401, 7, "the key is refused")
    problem(person.get("/tasks"), 401, "unauthorized")


def test_a_new_key_works_at_once_though_it_was_refused_before(api: Api, person: Person) -> None:
    wrong = with_other_secret(person.key)
    for _ in range(2):
        assert person.get("/tasks", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401

    assert api.person(person.tenant).get("/tasks").status_code == 200


def test_where_keys_cannot_be_looked_up_only_those_of_a_moment_ago_open_and_none_is_called_wrong(
    postgres_server: PostgresServer, database_url: str, broker_url: str
) -> None:
    with (
        Proxy("127.0.0.1", postgres_server.port) as proxy,
        running_api(proxy.through(database_url), broker_url, direct_url=database_url) as api,
    ):
        known, new = api.person(), api.person()
        stranger = {"Authorization": f"Bearer {with_other_secret(known.key)}"}
        assert known.get("/tasks").status_code == 200
        proxy.refuse()

        assert known.get("/tasks").status_code == 200
        problem(new.get("/tasks"), 503, "database-unavailable")
        problem(known.get("/tasks", headers=stranger), 503, "database-unavailable")
        eventually(lambda: known.get("/tasks").status_code == 503, REMEMBERED_FOR + 10, "the key is forgotten")

        proxy.heal()
        assert {person.get("/tasks").status_code for person in (known, new)} == {200}
        problem(known.get("/tasks", headers=stranger), 401, "unauthorized")


def test_operators_need_no_key(api: Api) -> None:
    for path in ("/health", "/ready", "/metrics", "/openapi.json", "/docs"):
        assert plain.get(api.url + path).status_code == 200, path
