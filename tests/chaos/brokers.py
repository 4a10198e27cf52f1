"""The brokers, and what can be done to one from inside: emptied, alarmed."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import redis
from kombu import Connection

from deploy.stack.errors import StackError
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.valkey import ValkeyServer
from tasks.topology import depth, transport_options

QUEUES: Final = ("default", "critical", "bulk")
CONTROL_SECONDS: Final = 30.0


def doorbells(url: str) -> int:
    """Return how many doorbells wait in the broker, in all its queues."""
    with Connection(url, transport_options=transport_options(url)) as connection:
        return sum(depth(connection, queue) for queue in QUEUES)


def kind_of(name: str) -> type["ChaosRabbit | ChaosValkey"]:
    """Return the server that the options call so."""
    return ChaosRabbit if name == "rabbitmq" else ChaosValkey


class Broker(Protocol):
    """What a fault needs of a broker, whichever it is."""

    wipes: tuple[str, ...]
    alarms: tuple[str, ...]

    def version(self) -> str:
        """Return which release it is."""

    def wipe(self, how: str) -> None:
        """Make it forget every message."""

    def alarmed(self, how: str, seconds: float) -> Any:
        """Keep it from taking messages for the block, which lasts so long."""


class ChaosRabbit(RabbitServer):
    """A RabbitMQ node that can be emptied and alarmed."""

    wipes = ("queues deleted", "queues purged")
    alarms = ("memory alarm", "disk alarm")
    _surroundings: dict[str, str]

    def version(self) -> str:
        """Return which release it is."""
        return self.programs.server.parent.parent.name.rpartition("-")[2]

    def _environment(self, epmd_port: int) -> dict[str, str]:
        self._surroundings = super()._environment(epmd_port)
        return self._surroundings

    def wipe(self, how: str) -> None:
        """Delete or purge every queue of doorbells."""
        for queue in QUEUES:
            self._manage("DELETE", f"queues/%2F/{queue}{'/contents' if how == 'queues purged' else ''}")

    @contextmanager
    def alarmed(self, how: str, seconds: float) -> Iterator[None]:
        """Hold the node at a limit of memory or of disk for the block: it takes nothing from publishers."""
        if how == "memory alarm":
            limit, usual = ("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4")
        else:
            limit, usual = ("set_disk_free_limit", "1000000GB"), ("set_disk_free_limit", "50MB")
        self._control(*limit)
        try:
            yield
        finally:
            self._control(*usual)

    def _control(self, *words: str) -> None:
        account = self._account
        done = subprocess.run(
            [str(self.programs.server.with_name("rabbitmqctl")), *words],
            env=self._surroundings,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=CONTROL_SECONDS,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            process_group=0,  # a Ctrl-C at our terminal is not for it
        )
        if done.returncode != 0:
            raise StackError(f"rabbitmqctl {' '.join(words)}: {done.stdout}{done.stderr}")


class ChaosValkey(ValkeyServer):
    """A Valkey server that can be emptied and alarmed."""

    wipes = ("FLUSHALL",)
    alarms = ("maxmemory", "CLIENT PAUSE")

    def version(self) -> str:
        """Return which release it is; the server must run."""
        with redis.Redis.from_url(self.url) as client:
            facts: Any = client.info("server")
        return str(facts.get("valkey_version") or facts.get("redis_version"))

    def wipe(self, how: str) -> None:
        """Delete every key."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    @contextmanager
    def alarmed(self, how: str, seconds: float) -> Iterator[None]:
        """Leave the server without memory, or without the time to answer, for the block."""
        with redis.Redis.from_url(self.url) as client:
            if how == "maxmemory":
                client.config_set("maxmemory", "1")
            else:
                client.client_pause(int(seconds * 1000))  # it would not listen to one who ends it earlier
        try:
            yield
        finally:
            if how == "maxmemory":
                with redis.Redis.from_url(self.url) as client:
                    client.config_set("maxmemory", "0")
