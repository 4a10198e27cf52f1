"""A real API and a real worker for the command to talk to, and the command itself, as a call and as a process."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from tests.integration.cli.gateway import Gateway, running_gateway
from tests.services.api_process import ApiProcess, new_key
from tests.services.databases import lasting
from tests.services.fixtures import own_database
from tests.services.local_processes import LocalProcess, surroundings

ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRAM: Final = (sys.executable, "-P", "-m", "deploy.cli.main")
"""-P keeps the current folder off the path, as it is with the command that is installed."""
CODE_SECONDS: Final = 60.0


@dataclass
class Platform:
    """An API, a beat, a worker of the queue `default`, and nobody for the queue `bulk`."""

    api: ApiProcess
    engine: Engine
    database_url: str
    broker_url: str


@pytest.fixture(scope="package")
def platform(
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    """Run one for all tests of the command; each test has a tenant of its own."""
    home, broker_url = tmp_path_factory.mktemp("platform"), valkey_server.url
    with own_database(postgres_server, template_database) as database_url:
        engine = lasting(database_url, pool_size=2)
        api = ApiProcess(home, database_url=database_url, broker_url=broker_url)
        worker, beat = (
            _process("worker", home, database_url, broker_url),
            _process("schedules", home, database_url, broker_url),
        )
        try:
            for process in (worker, beat):
                process.start()
            api.start()
            for process in (worker, beat):
                process.ready()
            yield Platform(api, engine, database_url, broker_url)
        finally:
            beat.teardown()
            worker.teardown()
            api.stop()
            engine.dispose()


def _process(module: str, home: Path, database_url: str, broker_url: str) -> LocalProcess:
    settings = {"NODE_NAME": "worker-1@cli", "WORKER_QUEUES": "default", "DRAIN_SECONDS": 1, "UPKEEP_SECONDS": 0.1}
    own = {f"PENSTOCK_{name}": value for name, value in settings.items()}
    environment = surroundings(DATABASE_URL=database_url, BROKER_URL=broker_url, **own)
    prompt = {"worker": " ready.", "schedules": "beat: Starting..."}[module]
    return LocalProcess(module, [module], environment=environment, log=home / f"{module}.log", prompt=prompt)


@dataclass
class Command:
    """`penstock`, told where the API is through the environment."""

    environment: dict[str, str]
    home: Path
    input: str | None = None
    tty: Mapping[str, str] = field(default_factory=lambda: {"TTY_COMPATIBLE": "1", "COLUMNS": "160"})

    def __call__(self, *arguments: object, terminal: bool = False, code: int = 0, **more: str) -> Result:
        """Run it inside this process; it must end with `code`."""
        environment: dict[str, str | None] = {"PENSTOCK_API_URL": None, "PENSTOCK_API_KEY": None, "DATABASE_URL": None}
        environment |= self.environment | more | (dict(self.tty) if terminal else {"TTY_COMPATIBLE": "0"})
        result = CliRunner().invoke(app, [str(one) for one in arguments], env=environment, input=self.input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, f"{result.exit_code}: {result.output}"
        return result

    def json(self, *arguments: object, code: int = 0) -> Any:
        """Run it with --json and return the one document that it prints."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def lines(self, *arguments: object, code: int = 0) -> list[list[str]]:
        """Run it and return the fields of each line."""
        return [line.split("\t") for line in self(*arguments, code=code).stdout.splitlines()]

    def process_environment(self) -> dict[str, str]:
        """What the command's process gets."""
        return surroundings(**self.environment)

    def process(self, *arguments: object, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run it as a process of its own, to its end."""
        return subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            env=self.process_environment() | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=CODE_SECONDS,
            input=self.input,
        )

    def started(self, *arguments: object, **more: str) -> "subprocess.Popen[str]":
        """Start it as a process of its own and return at once."""
        return subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            env=self.process_environment() | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def plain(text: str) -> str:
    """Return what a terminal shows of `text`, without colours and without what moves the cursor."""
    return ESCAPES.sub("", text)


@pytest.fixture
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command on a machine where nothing runs and nothing is set."""
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    return Command({"PENSTOCK_HOME": str(tmp_path / "home")}, tmp_path)


@pytest.fixture
def penstock(platform: Platform, anywhere: Command) -> Command:
    """The command, with the platform's address and the key of a tenant of the test's own."""
    key = new_key(platform.engine, f"tenant-{uuid.uuid4()}")
    anywhere.environment |= {"PENSTOCK_API_URL": platform.api.url, "PENSTOCK_API_KEY": key}
    return anywhere


@pytest.fixture
def gateway(platform: Platform, penstock: Command) -> Iterator[Gateway]:
    """Between the command and the API, with faults to order."""
    with running_gateway(platform.api.port) as gateway:
        penstock.environment["PENSTOCK_API_URL"] = gateway.url
        yield gateway
