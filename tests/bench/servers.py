"""The servers that all measured stacks share: PostgreSQL with fsync, Valkey, and RabbitMQ where it is the broker."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from kombu import Connection
from psycopg import sql
from redis import Redis
from sqlalchemy import make_url

from deploy.stack.postgres import PostgresServer
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.valkey import ValkeyServer
from tests.bench.options import Broker

# The stacks are kept apart: Valkey databases by number, RabbitMQ virtual hosts by name.
PENSTOCK_PLACE, BASELINE_PLACE, RESULTS_DB = 0, 1, 2
MORE_PLACES = 3
"""The first of those for several of one stack at once."""
FSYNCS = 50


@dataclass(frozen=True)
class Servers:
    """How the measured stacks reach the servers."""

    postgres: PostgresServer
    valkey: ValkeyServer
    broker: Broker
    rabbit: RabbitServer | None
    _vhosts: set[str] = field(default_factory=set)

    def broker_url(self, number: int) -> str:
        """How stack `number` reaches the broker: a virtual host (RabbitMQ) or a database (Valkey) of its own."""
        return self.rabbit.vhost_url(f"bench{number}") if self.rabbit else self.valkey_url(number)

    def valkey_url(self, number: int) -> str:
        return make_url(self.valkey.url).set(database=str(number)).render_as_string(hide_password=False)

    def valkey_database(self, number: int) -> Redis:
        return Redis.from_url(self.valkey_url(number))

    def recreate_database(self, name: str, template: str | None = None) -> str:
        """Database `name` exists anew, as `template` is, behind a checkpoint; returns its URL."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            if template:
                create = sql.SQL("{} TEMPLATE {}").format(create, sql.Identifier(template))
            connection.execute(create)
            connection.execute("CHECKPOINT")  # no turn pays for the writes of the one before it
        return self.postgres.database_url(name)

    def empty_broker(self, number: int) -> None:
        """Stack `number` finds a broker in which there is nothing."""
        if self.rabbit is None:
            self.valkey_database(number).flushdb()
            return
        vhost = f"bench{number}"
        if vhost in self._vhosts:
            self.rabbit.remove_vhost(vhost)
        self.rabbit.make_vhost(vhost)
        self._vhosts.add(vhost)

    def facts(self) -> dict[str, str]:
        """Versions and durability, as the servers themselves say them."""
        with psycopg.connect(self.postgres.url) as connection:
            shown = {
                name: str(connection.execute(sql.SQL("SHOW {}").format(sql.SQL(name))).fetchone()[0])  # type: ignore[index]  # SHOW returns one row
                for name in ("server_version", "fsync", "synchronous_commit")
            }
        found = {
            "postgresql": shown["server_version"].split()[0],
            "postgresql fsync": shown["fsync"],
            "postgresql synchronous_commit": shown["synchronous_commit"],
        }
        info = self.valkey_database(RESULTS_DB).info()
        found["valkey"] = str(info.get("valkey_version", info["redis_version"]))
        found["valkey appendonly"] = "on" if info["aof_enabled"] else "off"
        if self.rabbit is not None:
            with Connection(self.rabbit.url) as amqp:
                found["rabbitmq"] = str(amqp.connection.server_properties["version"])
        return found


@contextmanager
def started_servers(home: Path, broker: Broker) -> Iterator[Servers]:
    """The servers run while the block does, on 127.0.0.1, with all their state under `home`."""
    with ExitStack() as stack:
        postgres, valkey = PostgresServer(home / "postgres"), ValkeyServer(home / "valkey")
        rabbit = RabbitServer(home / "rabbitmq") if broker == "rabbitmq" else None
        for server in (postgres, valkey, rabbit):
            if server is not None:
                stack.callback(server.destroy)
                stack.enter_context(server)
        yield Servers(postgres, valkey, broker, rabbit)


def fsync_ms(folder: Path) -> float:
    """The median time, in milliseconds, to append 8 KiB to a file in `folder` and fsync it."""
    probe, took = folder / "fsync.probe", []
    with probe.open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            began = time.perf_counter()
            file.write(b"\0" * 8192)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    probe.unlink()
    return sorted(took)[FSYNCS // 2]
