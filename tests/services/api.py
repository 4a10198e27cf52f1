"""The API on a real socket, and people who talk to it, each a tenant of their own."""

import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Engine, func, select

from api.app import create
from api.connections import Connection
from api.settings import ApiSettings
from jobs.database import DatabaseSettings
from jobs.tables import idempotency_keys, jobs
from tasks.app import celery_app
from tasks.settings import TaskSettings
from tests.services.api_process import new_key
from tests.services.databases import connect_to
from tests.services.stack import eventually

START_SECONDS: Final = 20.0


class Documented:
    """Watches answers: each must have a status and a media type that the OpenAPI document has for its operation."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Hold answers to `document`."""
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), operations)
            for path, operations in sorted(document["paths"].items(), key=lambda item: "{" in item[0])
        ]

    def __call__(self, answer: httpx.Response) -> None:
        """Raise `AssertionError` for an answer that the document does not foresee."""
        path, method = answer.request.url.path, answer.request.method.lower()
        found: Any = next((operations for pattern, operations in self._paths if pattern.fullmatch(path)), {})
        if method not in found or answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            return
        responses = found[method]["responses"]
        assert str(answer.status_code) in responses, f"{method} {path}: {answer.status_code} is not documented"
        kind = answer.headers.get("content-type", "").partition(";")[0]
        content = responses[str(answer.status_code)].get("content", {})
        assert kind in content or not (kind or content), f"{method} {path}: {kind} is not documented"


@dataclass
class Person:
    """Someone with a key, and what is stored in their name."""

    url: str
    engine: Engine
    tenant: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex[:12]}")
    document: Mapping[str, Any] | None = None
    """The OpenAPI document that every answer is held to."""

    def __post_init__(self) -> None:
        """Make the key."""
        self.key = new_key(self.engine, self.tenant)
        self.headers = {"Authorization": f"Bearer {self.key}"}
        hooks: dict[str, Any] = {"response": [Documented(self.document)]} if self.document else {}
        self.http = httpx.Client(base_url=self.url, headers=self.headers, timeout=30, verify=False, event_hooks=hooks)

    @property
    def key_id(self) -> str:
        """The public part of the key."""
        return self.key.split("_")[1]

    def submit(self, task: str = "demo.noop", **wishes: Any) -> httpx.Response:
        """Submit a job; `headers` go to the request, the rest into the body."""
        headers = wishes.pop("headers", {})
        return self.http.post("/api/v1/jobs", json={"task": task, **wishes}, headers=headers)

    def accepted(self, task: str = "demo.noop", **wishes: Any) -> uuid.UUID:
        """Submit a job that is accepted, and return its id."""
        answer = self.submit(task, **wishes)
        assert answer.status_code == 202, answer.text
        return uuid.UUID(answer.json()["id"])

    def send(self, body: bytes, path: str = "/api/v1/jobs", **headers: str) -> httpx.Response:
        """Send these very bytes as JSON; `content_type="x"` becomes the header Content-Type."""
        named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        return self.http.post(path, content=body, headers={"content-type": "application/json"} | named)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Read below /api/v1."""
        return self.http.get(f"/api/v1{path}", **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Act below /api/v1."""
        return self.http.post(f"/api/v1{path}", **options)

    def stored(self) -> int:
        """Return how many jobs are stored."""
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(jobs).where(jobs.c.tenant == self.tenant)) or 0

    def keys_stored(self) -> int:
        """Return how many idempotency keys are taken."""
        found = select(func.count()).select_from(idempotency_keys).where(idempotency_keys.c.tenant == self.tenant)
        with self.engine.connect() as connection:
            return connection.scalar(found) or 0


@dataclass
class Api:
    """An API that serves, in a thread of this process, and an engine of ours beside it."""

    url: str
    app: FastAPI
    engine: Engine
    people: list[Person] = field(default_factory=list)

    def person(self, tenant: str | None = None) -> Person:
        """Return somebody new, or a further key of `tenant`."""
        chosen = {"tenant": tenant} if tenant else {}
        self.people.append(Person(self.url, self.engine, document=self.app.openapi(), **chosen))
        return self.people[-1]

    def close(self) -> None:
        """Hang up."""
        for person in self.people:
            person.http.close()
        self.engine.dispose()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve `app` on a free port as `python -m api` does, and lend its address."""
    config = uvicorn.Config(
        app,
        port=0,
        loop="uvloop",
        http=Connection,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    eventually(lambda: server.started or not thread.is_alive(), START_SECONDS, "the API serves")
    assert server.started
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
        assert not thread.is_alive(), "the API did not stop"


def _forget_tasks_of_test_tools() -> None:
    """Take out what pytest-celery registers in every process of pytest: its signatures are no payloads."""
    celery_app.finalize()
    for name in [name for name in celery_app.tasks if name.startswith("pytest_celery.")]:
        celery_app.tasks.pop(name)


@contextmanager
def running_api(database_url: str, broker_url: str, *, direct_url: str | None = None, **settings: Any) -> Iterator[Api]:
    """Run the API; `direct_url` is a way to the same database that no fault lies on.

    `settings` are those of the API, those named database_... of the database. Nobody is sent away for a slow
    machine's sake unless a test says so.
    """
    settings.setdefault("longest_wait_seconds", 30.0)
    _forget_tasks_of_test_tools()
    database = {name: settings.pop(name) for name in list(settings) if name in DatabaseSettings.model_fields}
    app = create(
        ApiSettings(**settings),
        DatabaseSettings(database_url=SecretStr(database_url), **database),
        TaskSettings(broker_url=SecretStr(broker_url)),
    )
    with serving(app) as url:
        api = Api(url, app, connect_to(direct_url or database_url, pool_size=8))
        try:
            yield api
        finally:
            api.close()
