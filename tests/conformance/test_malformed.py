"""No message can take a worker down: what nobody can read is put aside, and the next good job runs."""

import json
from typing import Any, Final

import pytest
from kombu import Producer
from redis import Redis

from jobs.model import Doorbell, new_job_id
from jobs.state import JobState
from tasks import messages
from tasks.topology import EXCHANGE
from tests.conformance.plant import Plant
from tests.services.local_processes import Worker

JSON: Final = {"content_type": "application/json", "content_encoding": "utf-8"}
CELERYS: Final = {"id": str(new_job_id()), "task": "demo.echo", "lang": "py", "timelimit": [None, None], "eta": None}
"""The headers of a message as stock Celery sends it: a good message elsewhere, and no doorbell here."""
GOOD: Final = messages.headers(Doorbell(new_job_id(), "demo.echo", "default", 5))
"""The headers of a doorbell for a job that does not exist."""


def _changed(found: dict[str, Any], /, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**found, **changes}.items() if value is not ...}


#: Name -> body, headers, properties. The first sixteen end, or silence, a stock Celery worker one way or another.
MESSAGES: Final[dict[str, tuple[bytes, dict[str, Any] | None, dict[str, Any]]]] = {
    "a body that is an object": (b"{}", CELERYS, JSON),
    "a body of two parts": (b"[[], {}]", CELERYS, JSON),
    "a body of null": (b"null", CELERYS, JSON),
    "a body that is a number": (b"7", CELERYS, JSON),
    "no id": (b"[[],{},{}]", _changed(CELERYS, id=...), JSON),
    "a time limit that is text": (b"[[],{},{}]", _changed(CELERYS, timelimit="soon"), JSON),
    "a body that is not JSON": (b"[[],{", CELERYS, JSON),
    "arguments by name that are a list": (b"[[],[],{}]", CELERYS, JSON),
    "arguments that are text": (b'["x",{},{}]', CELERYS, JSON),
    "a task that nobody knows": (b"[[],{},{}]", _changed(CELERYS, task="nobody.knows"), JSON),
    "pickle": (
        b"\x80\x04]\x94.",
        CELERYS,
        {"content_type": "application/x-python-serialize", "content_encoding": "binary"},
    ),
    "a content type that nobody knows": (
        b"x",
        CELERYS,
        {"content_type": "application/x-none", "content_encoding": "utf-8"},
    ),
    "an encoding that nobody knows": (
        b"[[],{},{}]",
        CELERYS,
        {"content_type": "application/json", "content_encoding": "x-none"},
    ),
    "a time that is none": (b"[[],{},{}]", _changed(CELERYS, eta="soon"), JSON),
    "no headers": (b"[[],{},{}]", None, JSON),
    "a task that is a list": (b"[[],{},{}]", _changed(CELERYS, task=[1]), JSON),
    "raw garbage": (bytes(range(256)), None, {"content_type": "application/data", "content_encoding": "binary"}),
    "an older protocol": (json.dumps({"task": "demo.echo", "id": "1", "args": [], "kwargs": {}}).encode(), None, JSON),
    "a doorbell of no version": (b"[[],{},{}]", _changed(GOOD, penstock=True), JSON),
    "a doorbell that asks for more than its own version": (b"[[],{},{}]", _changed(GOOD, penstock_reads=99), JSON),
    "a doorbell whose job is no id": (b"[[],{},{}]", _changed(GOOD, id="42"), JSON),
    "a doorbell without a job": (b"[[],{},{}]", _changed(GOOD, id=...), JSON),
    "a doorbell of an impossible priority": (b"[[],{},{}]", _changed(GOOD, penstock_priority=99), JSON),
    "a doorbell in pickle": (
        b"\x80\x04]\x94.",
        GOOD,
        {"content_type": "application/x-python-serialize", "content_encoding": "binary"},
    ),
    "a doorbell for too many jobs": (b"[[],{},{}]", _changed(GOOD, jobs=[str(new_job_id())] * 1001), JSON),
}


def _publish(plant: Plant, body: bytes, headers: dict[str, Any] | None, properties: dict[str, Any]) -> None:
    with plant.connection() as connection:
        Producer(connection, auto_declare=False).publish(
            body, exchange=EXCHANGE, routing_key="default", headers=headers, serializer=None, **properties
        )


@pytest.mark.parametrize("name", MESSAGES)
def test_an_unreadable_message_is_put_aside_and_the_next_job_runs(name: str, plant: Plant, worker: Worker) -> None:
    buried = plant.buried("default")

    _publish(plant, *MESSAGES[name])
    job = plant.finished(plant.submit("demo.echo", message="next"))

    plant.until(lambda: plant.buried("default") == buried + 1, "the message is put aside", 5)
    assert job["state"] == JobState.SUCCEEDED


def test_a_doorbells_body_does_not_matter(plant: Plant, worker: Worker) -> None:
    job_id = plant.submit("demo.echo", ring=False, message="by hand")
    headers = messages.headers(Doorbell(job_id, "demo.echo", "default", 5))

    _publish(plant, b"{", headers, JSON)

    assert plant.finished(job_id)["result"] == "by hand"


def test_one_doorbell_may_speak_of_many_jobs(plant: Plant, worker: Worker) -> None:
    ids = [plant.submit("demo.echo", ring=False, message=str(number)) for number in range(30)]
    headers = _changed(GOOD, jobs=[str(job_id) for job_id in ids])

    _publish(plant, b"[[],{},{}]", headers, JSON)

    rows = plant.all_finished(ids, seconds=5)
    assert {(row["state"], row["attempt"]) for row in rows} == {(JobState.SUCCEEDED, 1)}


def _envelope(**changes: Any) -> bytes:
    whole = {
        "body": "W1tdLHt9LHt9XQ==",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": GOOD,
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "default"},
            "delivery_tag": "7",
        },
    }
    return json.dumps(_changed(whole, **changes)).encode()


#: What somebody with the password may push into the list itself.
ELEMENTS: Final[dict[str, bytes]] = {
    "garbage": b"\xff\xfe\x00garbage",
    "text": b"garbage",
    "a number": b"7",
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "no properties": _envelope(properties=...),
    "properties that are none": _envelope(properties=None),
    "properties without a tag": _envelope(properties={"delivery_info": {"exchange": "", "routing_key": "default"}}),
    "no body": _envelope(body=...),
    "a body that is no base64": _envelope(body="%%%"),
    "a body that is a number": _envelope(body=7),
    "an encoding of the body that nobody knows": _envelope(
        properties={
            "body_encoding": "x",
            "delivery_tag": "8",
            "delivery_info": {"exchange": "", "routing_key": "default"},
        }
    ),
    "headers that are text": _envelope(headers="x"),
    "compression that nobody knows": _envelope(headers={**GOOD, "compression": "x-none"}),
}


@pytest.mark.parametrize("celery_broker_cluster", ["valkey"], indirect=True, scope="package")
@pytest.mark.parametrize("name", ELEMENTS)
def test_garbage_in_the_list_itself_harms_nobody(name: str, plant: Plant, worker: Worker) -> None:
    with Redis.from_url(plant.broker_url) as client:
        client.lpush("default", ELEMENTS[name])
    jobs = [plant.submit("demo.echo", message=str(number)) for number in range(3)]

    rows = plant.all_finished(jobs, seconds=10)
    assert {(row["state"], row["attempt"]) for row in rows} == {(JobState.SUCCEEDED, 1)}
    plant.until(lambda: plant.depth("default") == 0, "the list is empty", 5)


@pytest.mark.parametrize("celery_broker_cluster", ["valkey"], indirect=True, scope="package")
@pytest.mark.parametrize("said", ["1", "[]", "{}", "garbage"])
def test_what_a_stranger_broadcasts_harms_nobody(said: str, plant: Plant, worker: Worker) -> None:
    with Redis.from_url(plant.broker_url) as client:
        place = f"/{client.get_connection_kwargs()['db']}.celery.pidbox"
        assert client.publish(place, said) > 0, "the worker listens"

    assert plant.finished(plant.submit("demo.echo", message="next"))["state"] == JobState.SUCCEEDED


@pytest.mark.parametrize("celery_broker_cluster", ["rabbitmq"], indirect=True, scope="package")
def test_properties_that_are_no_text_harm_nobody(plant: Plant, worker: Worker) -> None:
    buried = plant.buried("default")

    _publish(plant, b"[[],{},{}]", GOOD, {**JSON, "correlation_id": b"\xff\xfe"})
    job = plant.finished(plant.submit("demo.echo", message="next"))

    plant.until(lambda: plant.buried("default") == buried + 1, "the message is put aside", 5)
    assert job["state"] == JobState.SUCCEEDED
