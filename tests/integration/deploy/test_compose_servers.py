"""The servers' configurations as they ship, on real servers, opened with the secrets that are made for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
import redis

from deploy.compose import make_secrets
from deploy.stack.child import Child, harmless_environment
from deploy.stack.home import ROOT
from deploy.stack.ports import LOOPBACK
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.server import write_private
from deploy.stack.valkey import ValkeyServer
from jobs.model import Doorbell, new_job_id
from tasks.publisher import DoorbellPublisher
from tests.drill.archive import ArchivingPostgres
from tests.services import plain
from tests.services.fixtures import running
from tests.services.stack import eventually

SHIPPED: Final = ROOT / "deploy" / "compose"
NEWER: Final = "deprecated_features."
"""Lines that RabbitMQ 3, which is here, does not know: they are for 4."""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    make_secrets.main(folder, "localhost")
    return folder


def secret(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


class ShippedPostgres(ArchivingPostgres):
    """PostgreSQL with the shipped file and its archive; only where it listens, and where its files are, is another."""

    def child(self) -> Child:
        config = self.state / "shipped.conf"
        text = (SHIPPED / "postgres" / "postgresql.conf").read_text()
        for shipped, there in {
            "listen_addresses = '*'": f"listen_addresses = '{LOOPBACK}'",
            "/opt/penstock-backup/postgresql.conf": str(self.data / "penstock-backup.conf"),
        }.items():
            assert shipped in text
            text = text.replace(shipped, there)
        write_private(config, text)
        here = {"port": str(self.port), "unix_socket_directories": ""}
        options = [word for name, value in here.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [
            self.programs / "postgres",
            "-D",
            self.data,
            "-c",
            f"config_file={self.own(config)}",
            *options,
        ]
        return Child(self.name, command, environment=harmless_environment(), log=self.log, account=self._account)


class ShippedValkey(ValkeyServer):
    """Valkey with the shipped file; only its places and its address are others."""

    made: Path

    @property
    def password(self) -> str:
        return secret(self.made, "valkey_password")

    def child(self) -> Child:
        account = self.state / "account"
        write_private(account, (self.made / "valkey_account").read_text())
        text = (SHIPPED / "valkey" / "valkey.conf").read_text()
        for shipped, here in {
            "/run/secrets/valkey_account": str(self.own(account)),
            "bind * -::*": f"bind {LOOPBACK}",
            "port 6379": f"port {self.port}",
            "dir /data": f'dir "{self.data}"',
        }.items():
            assert shipped in text
            text = text.replace(shipped, here)
        config = self.state / "valkey.conf"
        write_private(config, text)
        command = [self.program, self.own(config)]
        return Child(self.name, command, environment=harmless_environment(), log=self.log, account=self._account)


class ShippedRabbit(RabbitServer):
    """RabbitMQ with the shipped files; only its places and its ports are others."""

    made: Path

    def _write_config(self) -> None:
        definitions = self.data / "etc" / "definitions.json"
        write_private(definitions, (self.made / "rabbitmq_definitions").read_text())
        self.own(definitions)
        text = (SHIPPED / "rabbitmq" / "rabbitmq.conf").read_text()
        for shipped, here in {
            "/run/secrets/rabbitmq_definitions": str(definitions),
            "listeners.tcp.default = 5672": f"listeners.tcp.default = {LOOPBACK}:{self.port}",
            "management.tcp.port = 15672": f"management.tcp.port = {self.management_port}",
            "prometheus.tcp.port = 15692": f"management.tcp.ip = {LOOPBACK}",
        }.items():
            assert shipped in text
            text = text.replace(shipped, here)
        config = self.data / "etc" / "rabbitmq.conf"
        write_private(config, "\n".join(line for line in text.splitlines() if not line.startswith(NEWER)) + "\n")
        self.own(config)


@pytest.fixture(scope="module")
def postgres(services_home: Path) -> Iterator[ShippedPostgres]:
    with running(ShippedPostgres(services_home / "shipped-postgres", durable=False)) as server:
        yield server


@pytest.fixture(scope="module")
def valkey(services_home: Path, secrets: Path) -> Iterator[ShippedValkey]:
    server = ShippedValkey(services_home / "shipped-valkey", durable=False)
    server.made = secrets
    with running(server) as started:
        yield started


@pytest.fixture(scope="module")
def rabbit(services_home: Path, secrets: Path) -> Iterator[ShippedRabbit]:
    server = ShippedRabbit(services_home / "shipped-rabbitmq", durable=False)
    server.made = secrets
    with running(server) as started:
        yield started


def bells(count: int) -> list[Doorbell]:
    return [Doorbell(new_job_id(), "demo.noop", "default", number % 10) for number in range(count)]


def test_postgresql_takes_every_line_of_its_configuration(postgres: ShippedPostgres) -> None:
    lines = (SHIPPED / "postgres" / "postgresql.conf").read_text().splitlines()
    named = {line.partition("=")[0].strip() for line in lines if "=" in line and not line.startswith("#")}

    with psycopg.connect(postgres.database_url("postgres")) as connection:
        wrong = connection.execute("SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL").fetchall()
        found = connection.execute("SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%shipped.conf'").fetchall()
        kept = connection.execute("SELECT current_setting('synchronous_commit'), current_setting('fsync')").fetchone()

    assert wrong == []
    assert {name for (name,) in found} == named
    assert kept == ("on", "on")


def test_what_postgresql_holds_comes_back_from_its_archive_alone(postgres: ShippedPostgres) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (number integer)")
        postgres.run("base")
        connection.execute("INSERT INTO kept VALUES (7)")
        last = connection.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn() - 1)").fetchone()
        connection.execute("SELECT pg_switch_wal()")
        assert last
        eventually((postgres.backup / "wal" / f"{last[0]}.gz").exists, 60, "the WAL is archived")

    assert "is sound" in postgres.run("verify")
    assert len(postgres.run("list").splitlines()) == 1
    postgres.lose()
    postgres.restore()
    postgres.start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_valkey_opens_for_its_password_alone_and_throws_nothing_away(valkey: ShippedValkey, secrets: Path) -> None:
    url = secret(secrets, "broker_url.valkey").replace("@valkey:6379", f"@{LOOPBACK}:{valkey.port}")
    publisher = DoorbellPublisher(url, ["default"])
    publisher.ring(bells(3))

    assert publisher.depth("default") == 3
    publisher.close()
    with redis.Redis.from_url(url) as client:
        chosen = client.config_get("maxmemory-policy", "appendonly", "maxmemory")
    assert chosen == {"maxmemory-policy": "noeviction", "appendonly": "yes", "maxmemory": str(384 * 2**20)}
    with redis.Redis(LOOPBACK, valkey.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_rabbitmq_has_its_virtual_host_and_its_account_when_it_starts(rabbit: ShippedRabbit, secrets: Path) -> None:
    url = secret(secrets, "broker_url.rabbitmq").replace("@rabbitmq:5672", f"@{LOOPBACK}:{rabbit.port}")
    publisher = DoorbellPublisher(url, ["default"], "quorum")
    publisher.ring(bells(3))

    assert publisher.depth("default") == 3
    publisher.close()
    told = secret(secrets, "flower_broker_api").replace("@rabbitmq:15672", f"@{LOOPBACK}:{rabbit.management_port}")
    assert seen(told, "vhosts", "name") == {"penstock"}
    assert seen(told, "queues/penstock", "type") == {"quorum"}
    assert seen(told, "queues/penstock", "name") == {"default", "default.dead"}
    assert plain.get(f"{told}users", trust_env=False).status_code == 401, "it may look, and not administer"


def seen(api: str, path: str, field: str) -> set[str]:
    """Return what the management API shows to Flower's account."""
    answer = plain.get(f"{api}{path}", trust_env=False, timeout=20).raise_for_status()
    return {one[field] for one in answer.json()}


def test_nobody_else_opens_rabbitmq(rabbit: ShippedRabbit) -> None:
    for login in ("guest:guest", "penstock:penstock"):
        stranger = f"http://{login}@{LOOPBACK}:{rabbit.management_port}/api/overview"

        assert plain.get(stranger, trust_env=False).status_code == 401
