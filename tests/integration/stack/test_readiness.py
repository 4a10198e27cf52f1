"""Whether the stack serves, asked of an API that may be another stack's."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy.stack.ports import free_port
from deploy.stack.readiness import ours, ready

KEY = "the key that it knows"


class Api(BaseHTTPRequestHandler):
    """Ready with two workers; knows one key."""

    def do_GET(self) -> None:
        known = self.path == "/ready" or self.headers["Authorization"] == f"Bearer {KEY}"
        body = json.dumps({"workers_alive": 2}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing."""


@pytest.fixture
def api_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_stack_is_ready_once_enough_workers_are_counted(api_url: str) -> None:
    assert ready(api_url, workers=2)
    assert not ready(api_url, workers=3)


def test_a_stack_is_not_ready_because_another_answers_on_its_port(api_url: str) -> None:
    assert ours(api_url, KEY)
    assert not ours(api_url, "a key of this stack")


def test_an_api_that_does_not_listen_is_not_ready() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"

    assert not ready(nowhere, workers=0)
    assert not ours(nowhere, KEY)
