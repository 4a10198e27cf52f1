"""A problem of the API becomes one clear line, its cure, and a line for each field."""

import httpx
import pytest

from api.problems import PROBLEMS
from deploy.cli.cures import CURES, refusal

REQUEST = httpx.Request("POST", "http://127.0.0.1:8000/api/v1/jobs")


def answer(status: int, **problem: object) -> httpx.Response:
    return httpx.Response(status, json=problem, request=REQUEST)


def test_each_problem_has_a_cure_and_each_cure_a_problem() -> None:
    assert set(CURES) == {problem.slug for problem in PROBLEMS.values()}


def test_the_line_has_title_detail_and_cure_and_the_fields_stand_below() -> None:
    errors = [{"field": "payload.message", "message": "is missing"}]
    found = refusal(
        answer(422, type="/problems/invalid-payload", title="It does not fit", detail="See below.", errors=errors),
        task="demo.echo",
    )

    assert str(found) == "It does not fit: See below."
    assert found.cure == "`penstock tasks demo.echo` shows what it takes."
    assert found.details == ["payload.message: is missing"]
    assert (found.status, found.slug) == (422, "invalid-payload")


def test_the_item_of_a_batch_is_named_and_further_facts_are_shown() -> None:
    found = refusal(answer(409, type="/problems/x", title="Taken", index=3, state="queued", request_id="r"))

    assert str(found) == "Taken (item 3 of the batch)."
    assert (found.cure, found.details) == ("", ["state: queued", "request id: r"])


def test_facts_are_told_in_words_and_not_in_brackets() -> None:
    found = refusal(answer(422, title="X", known_queues=["bulk", "default"], none=[], closed=False, existing=None))

    assert found.details == ["known_queues: bulk, default", "none: none", "closed: false", "existing: null"]


def test_a_detail_that_repeats_the_title_is_left_out() -> None:
    assert str(refusal(answer(404, title="Not Found", detail="Not Found"))) == "Not Found."


@pytest.mark.parametrize("content", [b"<h1>502</h1>", b"", b"[]", b'{"detail": "x"}', b"\xff"])
def test_what_is_no_problem_is_another_servers(content: bytes) -> None:
    found = refusal(httpx.Response(502, content=content, request=REQUEST))

    assert str(found) == "127.0.0.1 answered 502, and not as Penstock's API does."


@pytest.mark.parametrize(
    ("method", "path", "command"),
    [
        ("PUT", "/schedules/nightly", "put"),
        ("GET", "/schedules/nightly", "show"),
        ("DELETE", "/schedules/nightly", "delete"),
        ("GET", "/schedules", "list"),
        ("GET", "/schedules/nightly/preview", "preview"),
        ("GET", "/schedules/nightly/occurrences", "history"),
        ("POST", "/schedules/nightly/backfill", "backfill"),
    ],
)
def test_a_problem_with_a_schedule_names_the_command_that_was_given(method: str, path: str, command: str) -> None:
    request = httpx.Request(method, f"http://127.0.0.1:8000/prefix/api/v1{path}")
    problem = {"type": "/problems/invalid-request", "title": "The request is not valid"}

    found = refusal(httpx.Response(422, json=problem, request=request))

    assert found.cure == f"`penstock schedules {command} --help` explains the options."
