"""At the limit is not over it."""

from tests.integration.api.test_refusals import LIMIT, echo_of
from tests.services.api import Person


def test_a_body_of_exactly_the_limit_is_taken(person: Person) -> None:
    body = echo_of(LIMIT)

    assert len(body) == LIMIT
    assert person.send(body).status_code == 202


def test_a_body_of_exactly_the_limit_is_taken_in_chunks(person: Person) -> None:
    body = echo_of(LIMIT)
    chunks = (body[start : start + 10_000] for start in range(0, LIMIT, 10_000))

    answer = person.http.post("/api/v1/jobs", content=chunks, headers={"Content-Type": "application/json"})

    assert answer.status_code == 202


def test_longest_names_are_taken(person: Person) -> None:
    job_id = person.accepted(unique_key="ü" * 255, tags=["é" * 100] * 20)

    assert person.get(f"/jobs/{job_id}").json()["tags"] == ["é" * 100] * 20


def test_a_number_of_4300_digits_is_kept_exactly(person: Person) -> None:
    digits = "7" * 4300
    answer = person.send(
        b'{"task": "http.request", "payload": {"url": "http://example.org/", "body": %s}}' % digits.encode(),
        idempotency_key="large",
    )

    assert answer.status_code == 202
    assert digits in person.get(f"/jobs/{answer.json()['id']}").text
