"""The client keeps what it was told, no more and no less, and asks again as long as it does not know."""

import asyncio
import json
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.client import Client
from tests.chaos.ledger import Call, Entries, Ledger, Status, Wanted, read_ledger

JOB = uuid.UUID(int=7)
DONE = (202, {"id": str(JOB), "state": "queued"}, {})


def problem(code: int, name: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    return code, {"type": f"/problems/{name}"}, {"Content-Type": "application/problem+json", **headers}


PATIENT = {"Retry-After": "0"}
CUT = (0, None, {})
"""No answer: the connection is closed."""


class Api:
    """An API that gives the answers of a list, one after the other."""

    def __init__(self) -> None:
        self.answers: deque[tuple[int, Any, dict[str, str]]] = deque()
        self.keys: list[str | None] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                api.keys.append(self.headers.get("Idempotency-Key"))
                code, body, headers = api.answers.popleft()
                if not code:
                    self.close_connection = True
                    return
                self.send_response(code)
                content = json.dumps(body).encode()
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()
    yield found
    found.server.shutdown()
    found.server.server_close()


def told(api: Api, folder: Path, *answers: Any, call: Call | None = None) -> tuple[Entries, Client]:
    """Hand in a job, or have an operator's `call` carried out, while the API gives these answers."""
    api.answers.extend(answers)

    async def ask(ledger: Ledger) -> Client:
        client = Client({"api-1": f"http://127.0.0.1:{api.server.server_port}"}, "key", ledger)
        if call is None:
            await client.submit([Wanted(task="chaos.quick")], batch=False)
        else:
            await client.operate(call, JOB)
        await client.close()
        return client

    with Ledger(folder / "ledger") as ledger:
        client = asyncio.run(ask(ledger))
    assert not api.answers
    return read_ledger(folder / "ledger"), client


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (CUT, Status.UNKNOWN),
        (problem(503, "outcome-unknown", **PATIENT), Status.UNKNOWN),
        (problem(503, "database-unavailable", **PATIENT), Status.REFUSED),
        (problem(429, "quota-exceeded", **PATIENT), Status.REFUSED),
    ],
    ids=["cut off", "outcome unknown", "PostgreSQL away", "quota"],
)
@pytest.mark.parametrize("call", [None, Call.RETRY, Call.CANCEL], ids=str)
def test_a_try_that_was_not_carried_out_or_may_have_been_is_kept_as_that_and_made_again(
    call: Call | None, first: Any, status: Status, api: Api, tmp_path: Path
) -> None:
    entries, client = told(api, tmp_path, first, DONE, call=call)

    tries = entries.operations or entries.submissions
    assert [one.status for one in tries] == [status, Status.ACKNOWLEDGED]
    assert client.oddities == []


@pytest.mark.parametrize(
    "answer",
    [
        problem(500, "internal-error"),
        problem(504, "gateway-timeout", **PATIENT),
        problem(503, "busy"),
        (503, {}, PATIENT),
        (502, {}, {}),
    ],
    ids=["500", "504", "503 that names no time", "503 that is no problem", "502"],
)
def test_an_answer_that_no_page_knows_is_odd(answer: Any, api: Api, tmp_path: Path) -> None:
    entries, client = told(api, tmp_path, answer, DONE)

    assert [oddity.partition(" ")[2].partition(" ")[0] for oddity in client.oddities] == ["/jobs:"]
    assert str(answer[0]) in client.oddities[0]
    assert [one.code for one in entries.submissions] == [answer[0], 202]


def test_all_tries_of_a_request_and_of_a_replay_have_one_key_and_other_calls_have_none(
    api: Api, tmp_path: Path
) -> None:
    told(api, tmp_path, CUT, DONE)
    told(api, tmp_path, CUT, DONE, call=Call.REPLAY)
    told(api, tmp_path, CUT, DONE, call=Call.RETRY)

    first, again, replay, replayed, *retries = api.keys
    assert first == again != replay == replayed
    assert None not in {first, replay}
    assert retries == [None, None]
    assert {one.key for one in read_ledger(tmp_path / "ledger").operations} == {replay, None}
