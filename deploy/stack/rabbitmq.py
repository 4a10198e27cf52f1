"""A private RabbitMQ node on 127.0.0.1 from Debian's files, with an `epmd` of its own that ends with it."""

import base64
import contextlib
import json
import os
import socket
import urllib.request
from functools import cached_property
from typing import ClassVar

from deploy.stack.child import Child, harmless_environment
from deploy.stack.errors import DidNotStart
from deploy.stack.ports import LOOPBACK, free_port
from deploy.stack.rabbitmq_programs import RabbitPrograms, find_or_install
from deploy.stack.server import Server, write_private

__all__ = ["RabbitServer", "find_or_install"]

USER = "penstock"
AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
START_FRAME = b"\x01\x00\x00"
MANAGEMENT_SECONDS = 10.0


class RabbitServer(Server):
    """A RabbitMQ node with the management plugin; `url` names the virtual host `/`."""

    name = "rabbitmq"
    start_seconds: ClassVar[float] = 60.0
    # The node closes its stores within a tenth of a second; its statistics agent then takes five more to say so.
    stop_seconds: ClassVar[float] = 1.5
    management_port = 0
    _epmd: Child | None = None

    @property
    def pids(self) -> list[int]:
        """The node and its name server."""
        epmd = self._epmd.pid if self._epmd else None
        return [*super().pids, *([epmd] if epmd else [])]

    @property
    def url(self) -> str:
        """How a client reaches the virtual host `/`."""
        return self.vhost_url("/")

    @property
    def management_url(self) -> str:
        """Where the management API listens, user and password included; Flower's `--broker-api` takes it."""
        return f"http://{USER}:{self.password}@{LOOPBACK}:{self.management_port}/api/"

    def vhost_url(self, name: str) -> str:
        """How a client reaches the virtual host `name`."""
        return f"amqp://{USER}:{self.password}@{LOOPBACK}:{self.port}/{'' if name == '/' else name}"

    def make_vhost(self, name: str) -> str:
        """Make an empty virtual host and return its url. `name` needs no escaping in a URL."""
        self._manage("PUT", f"vhosts/{name}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._manage("PUT", f"permissions/{name}/{USER}", everything)
        return self.vhost_url(name)

    def remove_vhost(self, name: str) -> None:
        """Remove a virtual host with all that is in it."""
        self._manage("DELETE", f"vhosts/{name}")

    @cached_property
    def programs(self) -> RabbitPrograms:
        """The node's programs; installed when they are missing and can be."""
        return find_or_install()

    def prepare(self) -> None:
        """Write the plugins to enable and the folders that the node expects."""
        for folder in ("home", "mnesia", "log", "etc"):
            (self.data / folder).mkdir(exist_ok=True, mode=0o700)
            self.own(self.data / folder)
        plugins = self.data / "etc" / "enabled_plugins"
        plugins.write_text("[rabbitmq_management].\n")
        self.own(plugins)

    def child(self) -> Child:
        """Start this node's `epmd` and describe the node for the present port."""
        self.management_port = free_port(self.management_port or None)
        epmd_port = free_port()
        self._write_config()
        self._start_epmd(epmd_port)
        return Child(
            self.name,
            [self.programs.server],
            environment=self._environment(epmd_port),
            log=self.log,
            account=self._account,
        )

    def _write_config(self) -> None:
        lines = {
            "default_user": USER,
            "default_pass": self.password,
            "default_permissions.configure": ".*",
            "default_permissions.read": ".*",
            "default_permissions.write": ".*",
            "default_user_tags.administrator": "true",
            "listeners.tcp.default": f"{LOOPBACK}:{self.port}",
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": str(self.management_port),
            "loopback_users": "none",
        }
        config = self.data / "etc" / "rabbitmq.conf"
        write_private(config, "".join(f"{name} = {value}\n" for name, value in lines.items()))
        self.own(config)

    def _environment(self, epmd_port: int) -> dict[str, str]:
        data = self.data
        own = {
            "HOME": str(data / "home"),
            "PATH": os.pathsep.join([*map(str, self.programs.path), os.environ.get("PATH", os.defpath)]),
            "RABBITMQ_NODENAME": "penstock@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "etc" / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(data / "etc" / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(data / "etc" / "advanced"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"),
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            # The script then becomes the node instead of guarding it: our signals reach the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        return harmless_environment() | own

    def _start_epmd(self, port: int) -> None:
        """Start the name server that a node needs; the node would start one that outlives it."""
        self._stop_epmd()
        self._epmd = Child(
            "epmd",
            [self.programs.epmd, "-port", str(port), "-address", LOOPBACK],
            environment=harmless_environment(),
            log=self.log.with_name("epmd.log"),
            account=self._account,
        )
        self._epmd.start()
        self._epmd.wait_until(lambda: _accepts(port), self.start_seconds)

    def _stop_epmd(self) -> None:
        if self._epmd:
            self._epmd.kill()

    def stop(self) -> None:
        """End the node in good order, then its name server."""
        super().stop()
        self._stop_epmd()

    def kill(self) -> None:
        """End the node with SIGKILL, and its name server."""
        super().kill()
        self._stop_epmd()

    def is_ready(self) -> bool:
        """Say whether our node has opened its listeners: its log says so and AMQP is spoken on the port."""
        if self._child is None or "Server startup complete" not in self._child.written():
            return False
        try:
            with socket.create_connection((LOOPBACK, self.port), 1.0) as connection:
                connection.sendall(AMQP_GREETING)
                return connection.recv(len(START_FRAME)) == START_FRAME
        except OSError:
            return False

    def lost_its_port(self, why: str) -> bool:
        """Say whether a failed start means that someone else took a port in the meantime."""
        return "eaddrinuse" in why or super().lost_its_port(why)

    def _manage(self, method: str, path: str, body: object = None) -> None:
        """Ask the management API; raises `DidNotStart` when it refuses."""
        login = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self.management_port}/api/{path}",
            data=json.dumps(body or {}).encode(),
            method=method,
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        try:
            with contextlib.closing(urllib.request.urlopen(request, timeout=MANAGEMENT_SECONDS)):  # noqa: S310 - our own node, on loopback
                return
        except OSError as error:
            raise DidNotStart(f"RabbitMQ's management API refused {method} {path}: {error}") from error


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), 1.0):
            return True
    except OSError:
        return False
