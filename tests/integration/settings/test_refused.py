"""A process that cannot work as it is told ends soon, with one line that names the setting, and a code that says so.

What each process must do for itself is tried on each; what the same code does in all of them on one, by turns.
"""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text

from deploy.stack.home import ROOT
from deploy.stack.ports import free_port
from deploy.stack.rabbitmq import USER, RabbitServer
from deploy.stack.valkey import ValkeyServer
from jobs.database import transaction
from jobs.schema import revisions
from jobs.startup import AWAY, MISCONFIGURED
from tasks.topology import connect, declare
from tests.integration.settings.mistakes import ALL, API, DSN, FLOWER, RABBIT, SERVERS, TABLES, Mistake, by_turns
from tests.services.api_process import ApiProcess
from tests.services.databases import connect_to
from tests.services.local_processes import surroundings

SECONDS: Final = 40.0
"""For five processes at once on a slow machine; one on a quiet machine takes less than ten, as the page says."""


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
    name: str,
    database_url: str,
    empty_url: str,
    others: Mapping[str, str],
    weak: Mapping[str, str],
    valkey_server: ValkeyServer,
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
        **weak,
    )


def onlooker(server: RabbitServer) -> str:
    """Return the url of a user who may read, and neither make nor write anything."""
    server._manage("PUT", "users/onlooker", {"password": "hush", "tags": ""})
    server._manage("PUT", "permissions/%2F/onlooker", {"configure": "^$", "write": "^$", "read": ".*"})
    return server.url.replace(f"{USER}:{server.password}", "onlooker:hush")


@pytest.mark.parametrize("name", RABBIT)
def test_what_rabbitmq_says_is_told(name: str, database_url: str, rabbit_server: RabbitServer) -> None:
    check(
        by_turns(RABBIT)[name],
        {"DATABASE_URL": database_url, "BROKER_URL": rabbit_server.url},
        other_rabbit=rabbit_server.url.replace(rabbit_server.password, "hush"),
        tls_rabbit=rabbit_server.url.replace("amqp", "amqps"),
        no_vhost=rabbit_server.vhost_url("nowhere"),
        onlooker=onlooker(rabbit_server),
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
