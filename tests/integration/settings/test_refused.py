"""A process that cannot work as it is told ends soon, with one line that names the setting, and a code that says so.

What each process must do for itself is tried on each; what the same code does in all of them on one, by turns.
"""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text

from deploy.stack.home import ROOT
from deploy.stack.ports import free_port
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.valkey import ValkeyServer
from jobs.database import transaction
from jobs.schema import revisions
from jobs.startup import AWAY, MISCONFIGURED
from tasks.topology import connect, declare
from tests.services.api_process import ApiProcess
from tests.services.databases import connect_to
from tests.services.local_processes import surroundings

ALL: Final = ("api", "worker", "schedules", "deploy.flower", "jobs.migrations")
API: Final = ("api",)
FLOWER: Final = ("deploy.flower",)
WORKER: Final = ("worker",)
STORE: Final = ("api", "worker", "schedules", "jobs.migrations")
TABLES: Final = ("api", "worker", "schedules")
BROKER: Final = ("api", "worker", "schedules", "deploy.flower")
BROKER_ALWAYS: Final = ("worker", "schedules", "deploy.flower")
"""Who cannot begin without the broker: the API accepts jobs without it."""
SECONDS: Final = 40.0
"""For five processes at once on a slow machine; one on a quiet machine takes less than ten, as the page says."""
NOWHERE: Final = "no-such-host.invalid"


@dataclass
class Ended:
    """How a process ended, and what it wrote."""

    code: int
    error: str
    output: str


def ends(modules: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[tuple[str, Ended]]:
    """Start all of `modules` at once and yield how each of them ended."""
    own = {"PENSTOCK_API_PORT": free_port(), "FLOWER_PORT": free_port(), "PENSTOCK_FLOWER_PASSWORD": "hush"}
    started = {
        module: subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=surroundings(**own | dict(environment)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for module in modules
    }
    deadline = time.monotonic() + SECONDS
    try:
        for module, process in started.items():
            output, error = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
            yield module, Ended(process.returncode, error, output)
    finally:
        for process in started.values():
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Mistake:
    """What is wrong in the environment; an empty text takes a variable away. `{name}` is one of the servers' facts."""

    roles: tuple[str, ...]
    """Who says so."""
    says: str
    code: int = MISCONFIGURED
    environment: dict[str, str] = field(default_factory=dict)
    of_each: bool = False
    """Whether it is tried on each of them, and not on one."""


def by_turns(mistakes: Mapping[str, Mistake]) -> dict[str, Mistake]:
    """Return the mistakes, each with those on whom it is tried."""
    turns = {name: turn for turn, name in enumerate(mistakes)}
    return {
        name: one if one.of_each else replace(one, roles=(one.roles[turns[name] % len(one.roles)],))
        for name, one in mistakes.items()
    }


DSN: Final = {
    "no database": Mistake(STORE, "PENSTOCK_DATABASE_URL is not set: ", environment={"DATABASE_URL": ""}, of_each=True),
    "another scheme": Mistake(
        STORE, r"DATABASE_URL: must start with postgresql://", environment={"DATABASE_URL": "mysql://u:hush@h/n"}
    ),
    "no port": Mistake(
        STORE, r"DATABASE_URL: has a port that is none", environment={"DATABASE_URL": "postgresql://u:hush@h:port/n"}
    ),
    "no broker": Mistake(
        BROKER, "PENSTOCK_BROKER_URL is not set: amqp://", environment={"BROKER_URL": ""}, of_each=True
    ),
    "another broker": Mistake(
        BROKER, r"BROKER_URL: must start with one of amqp://", environment={"BROKER_URL": "kafka://u:hush@h"}
    ),
    "no port of a broker": Mistake(
        BROKER, r"BROKER_URL: has a port that is none", environment={"BROKER_URL": "amqp://u:hush@h:port//"}
    ),
    "no number of a database": Mistake(
        BROKER, r"BROKER_URL: must end with the number", environment={"BROKER_URL": "redis://:hush@h/name"}
    ),
    "a known secret": Mistake(
        BROKER, r"BROKER_URL: holds 'guest', which", environment={"BROKER_URL": "amqp://guest:guest@h//"}
    ),
    "no replica": Mistake(
        API,
        "DATABASE_REPLICA_URL: must start with postgresql://",
        environment={"PENSTOCK_DATABASE_REPLICA_URL": "mysql://u:hush@h/n"},
    ),
    "no file": Mistake(
        STORE,
        r"DATABASE_URL_FILE names /no/file, which",
        environment={"DATABASE_URL": "", "DATABASE_URL_FILE": "/no/file"},
    ),
    "a typing error": Mistake(
        ALL,
        "did you mean PENSTOCK_WORKER_QUEUES\\?",
        environment={"PENSTOCK_WORKER_QUEUE": "default"},
        of_each=True,
    ),
    "an impossible value": Mistake(
        BROKER, "PENSTOCK_DOORBELL_WINDOW: .* greater than or equal to 1", environment={"PENSTOCK_DOORBELL_WINDOW": "0"}
    ),
    "no address of an API": Mistake(
        API, "PENSTOCK_API_HOST: 192.0.2.1 is no address", environment={"PENSTOCK_API_HOST": "192.0.2.1"}
    ),
    "no host of an API": Mistake(
        API, f"PENSTOCK_API_HOST: {NOWHERE} is no address", environment={"PENSTOCK_API_HOST": NOWHERE}
    ),
    "no address of Flower": Mistake(
        FLOWER, "FLOWER_ADDRESS: 192.0.2.1 is no address", environment={"FLOWER_ADDRESS": "192.0.2.1"}
    ),
    "no number for Flower": Mistake(
        FLOWER, "FLOWER_MAX_TASKS: is no int; correct it", environment={"FLOWER_MAX_TASKS": "abc"}
    ),
    "no wait": Mistake(
        STORE, "PENSTOCK_START_WAIT_SECONDS: Input should be", environment={"PENSTOCK_START_WAIT_SECONDS": "abc"}
    ),
    "no port of a mail server": Mistake(
        WORKER, "PENSTOCK_SMTP_PORT: Input should be", environment={"PENSTOCK_SMTP_PORT": "99999"}
    ),
    "no certificates of a mail server": Mistake(
        WORKER, "PENSTOCK_SMTP_CA_FILE: /nope cannot be read", environment={"PENSTOCK_SMTP_CA_FILE": "/nope"}
    ),
    "no certificates of web servers": Mistake(
        WORKER, "PENSTOCK_HTTP_CA_FILE: /nope cannot be read", environment={"PENSTOCK_HTTP_CA_FILE": "/nope"}
    ),
    "no certificates": Mistake(
        BROKER, "PENSTOCK_BROKER_CA_FILE: /no/ca cannot be read", environment={"PENSTOCK_BROKER_CA_FILE": "/no/ca"}
    ),
    "no collector over HTTP": Mistake(
        ("api", "worker"),
        "OTEL_EXPORTER_OTLP_ENDPOINT: must start with http://",
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
    ),
}

SERVERS: Final = {
    "no such host": Mistake(
        STORE,
        f"DATABASE_URL: PostgreSQL at {NOWHERE}: .*; is it up",
        AWAY,
        {"DATABASE_URL": f"postgresql://u:hush@{NOWHERE}/n"},
    ),
    "nobody there": Mistake(
        STORE,
        "DATABASE_URL: PostgreSQL at .*: Connection refused; is it up",
        AWAY,
        {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/n"},
        of_each=True,
    ),
    "another password": Mistake(
        STORE,
        "DATABASE_URL: .*password authentication failed.*; correct the user and the password",
        environment={"DATABASE_URL": "{other_password}"},
    ),
    "no such database": Mistake(
        STORE, 'DATABASE_URL: .*database "nothing" does not exist; create', environment={"DATABASE_URL": "{nothing}"}
    ),
    "another password of a replica": Mistake(
        API,
        "PENSTOCK_DATABASE_REPLICA_URL: .*password authentication failed.*; correct the user and the password",
        environment={"PENSTOCK_DATABASE_REPLICA_URL": "{other_password}"},
    ),
    "no schema": Mistake(
        TABLES, "at nothing, needs .*penstock migrate", AWAY, {"DATABASE_URL": "{empty}"}, of_each=True
    ),
    "a database of letters that are few": Mistake(
        STORE, "DATABASE_URL: .*the database is not in UTF-8; make", environment={"DATABASE_URL": "{latin}"}
    ),
    "a database of bytes": Mistake(
        STORE, "DATABASE_URL: .*the database is not in UTF-8; make", environment={"DATABASE_URL": "{bytes}"}
    ),
    "a database that cannot be written": Mistake(
        STORE,
        "DATABASE_URL: .*it is read-only, as a standby is; name the primary",
        AWAY,
        {"DATABASE_URL": "{read_only}"},
    ),
    "a user who may not write": Mistake(
        TABLES, "DATABASE_URL: .*this user may not write jobs; GRANT", environment={"DATABASE_URL": "{reader}"}
    ),
    "no such host of a broker": Mistake(
        BROKER_ALWAYS,
        f"BROKER_URL: RabbitMQ at {NOWHERE} does not answer",
        AWAY,
        {"BROKER_URL": f"amqp://u:hush@{NOWHERE}//"},
    ),
    "no broker there": Mistake(
        BROKER_ALWAYS,
        "BROKER_URL: Redis or Valkey at .* does not answer",
        AWAY,
        {"BROKER_URL": "redis://:hush@127.0.0.1:1/0"},
        of_each=True,
    ),
    "another password of a broker": Mistake(
        BROKER,
        "BROKER_URL: Redis or Valkey at .* refuses the login",
        environment={"BROKER_URL": "{other_valkey}"},
        of_each=True,
    ),
    "no such number": Mistake(
        BROKER, "BROKER_URL: .*no such virtual host or database", environment={"BROKER_URL": "{far_database}"}
    ),
}

RABBIT: Final = {
    "another password": Mistake(
        BROKER, "BROKER_URL: RabbitMQ at .* refuses the login", environment={"BROKER_URL": "{other_rabbit}"}
    ),
    "TLS where there is none": Mistake(
        BROKER, "BROKER_URL: .*does not speak TLS", environment={"BROKER_URL": "{tls_rabbit}"}
    ),
    "no such virtual host": Mistake(
        BROKER, "BROKER_URL: .*no such virtual host or database", environment={"BROKER_URL": "{no_vhost}"}
    ),
}


def test_every_process_has_its_turn() -> None:
    tried = [role for kind in (DSN, SERVERS, RABBIT) for mistake in by_turns(kind).values() for role in mistake.roles]

    assert min(tried.count(role) for role in ALL) >= 5


def check(mistake: Mistake, surrounding: Mapping[str, str], **facts: str) -> None:
    """Each role of `mistake` ends with its code and one line that says it, and no secret."""
    told = {name: value.format(**facts) for name, value in mistake.environment.items()}
    # What waiting cures is waited for briefly; what it does not cure is told before that time is over.
    wait = {"PENSTOCK_START_WAIT_SECONDS": "1" if mistake.code == AWAY else "9"}
    environment = {name: value for name, value in {**surrounding, **wait, **told}.items() if value}
    for module, ended in ends(mistake.roles, environment):
        assert re.search(mistake.says, ended.error), f"{module}: {ended.error}"
        assert (ended.code, len(ended.error.splitlines())) == (mistake.code, 1), f"{module}: {ended.error}"
        assert "cannot start: " in ended.error
        assert "hush" not in ended.error
        assert ended.output == ""


@pytest.mark.parametrize("name", DSN)
def test_what_is_wrong_by_itself_is_told(name: str) -> None:
    urls = {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/n", "BROKER_URL": "redis://:hush@127.0.0.1:1/0"}

    check(by_turns(DSN)[name], urls)


@pytest.mark.parametrize(("roles", "variable"), [(API, "PENSTOCK_API_PORT"), (FLOWER, "FLOWER_PORT")])
def test_a_port_that_is_taken_is_told(roles: tuple[str, ...], variable: str) -> None:
    urls = {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/n", "BROKER_URL": "redis://:hush@127.0.0.1:1/0"}
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        check(Mistake(roles, f"{variable}: 127.0.0.1:{port} is taken", environment={variable: str(port)}), urls)


@pytest.mark.parametrize("name", SERVERS)
def test_what_the_servers_say_is_told(
    name: str, database_url: str, empty_url: str, others: Mapping[str, str], valkey_server: ValkeyServer
) -> None:
    password = database_url.partition("://")[2].partition(":")[2].partition("@")[0]
    check(
        by_turns(SERVERS)[name],
        {"DATABASE_URL": database_url, "BROKER_URL": valkey_server.url},
        other_password=database_url.replace(password, "hush"),
        nothing=f"{database_url.rpartition('/')[0]}/nothing",
        empty=empty_url,
        other_valkey=valkey_server.url.replace(valkey_server.password, "hush"),
        far_database=f"{valkey_server.url.rpartition('/')[0]}/999",
        **others,
    )


@pytest.mark.parametrize("name", RABBIT)
def test_what_rabbitmq_says_is_told(name: str, database_url: str, rabbit_server: RabbitServer) -> None:
    check(
        by_turns(RABBIT)[name],
        {"DATABASE_URL": database_url, "BROKER_URL": rabbit_server.url},
        other_rabbit=rabbit_server.url.replace(rabbit_server.password, "hush"),
        tls_rabbit=rabbit_server.url.replace("amqp", "amqps"),
        no_vhost=rabbit_server.vhost_url("nowhere"),
    )


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_queues_of_another_kind_are_told_and_left_as_they_are(database_url: str, broker_url: str) -> None:
    with connect(broker_url) as connection:
        declare(connection, ["default"], "classic")

    told = {"PENSTOCK_RABBITMQ_QUEUES": "quorum"}
    mistake = Mistake(TABLES, "PENSTOCK_RABBITMQ_QUEUES is quorum, .* made otherwise; .*delete them", environment=told)
    check(mistake, {"DATABASE_URL": database_url, "BROKER_URL": broker_url})


@pytest.mark.parametrize(
    ("revision", "code", "says"),
    [
        (revisions()[0], AWAY, "run penstock migrate"),
        ("abcd", MISCONFIGURED, "is it the right database"),
    ],
    ids=["older", "another project's"],
)
def test_no_process_works_on_a_schema_that_is_not_its_own(
    revision: str, code: int, says: str, database_url: str, broker_url: str
) -> None:
    _stamp(database_url, revision)

    check(
        Mistake(TABLES, f"DATABASE_URL: .*is at {revision}, .*{says}", code),
        {"DATABASE_URL": database_url, "BROKER_URL": broker_url},
    )


def _stamp(database_url: str, revision: str) -> None:
    engine = connect_to(database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()


def test_an_api_begins_without_its_replica(database_url: str, broker_url: str, tmp_path: Path) -> None:
    told = {"PENSTOCK_DATABASE_REPLICA_URL": f"postgresql://u:hush@127.0.0.1:{free_port()}/n"}
    with ApiProcess(tmp_path, database_url=database_url, broker_url=broker_url, environment=told) as api:
        api.start()

        assert api.stop()


def test_an_api_begins_without_a_broker_and_on_the_schema_of_a_later_release(database_url: str, tmp_path: Path) -> None:
    _stamp(database_url, f"{int(revisions()[-1]) + 1:04}")

    with ApiProcess(tmp_path, database_url=database_url, broker_url=f"redis://127.0.0.1:{free_port()}/0") as api:
        api.start()

        assert api.stop()
