"""The servers with TLS and a certificate of a private authority, made for the name `localhost`."""

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Final

from deploy.stack.ports import LOOPBACK, free_port
from deploy.stack.postgres import PostgresServer
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.server import Server
from tests.servers.certificates import Certificate
from tests.services.fixtures import unavailable

HOST: Final = "localhost"


def _kept_by(server: Server, made: Certificate, folder: Path) -> Certificate:
    """Return copies of the certificate and its key that the server's own account can read, and nobody else."""
    kept = Certificate(folder / "tls.pem", folder / "tls.key")
    for source, target in ((made.certificate_file, kept.certificate_file), (made.key_file, kept.key_file)):
        shutil.copyfile(source, target)
        target.chmod(0o600)
        server.own(target)
    return kept


class TlsPostgres(PostgresServer):
    """Debian's PostgreSQL: the one in the wheel is built without TLS."""

    certificate: Certificate

    @cached_property
    def programs(self) -> Path:
        """The folder of the newest PostgreSQL of the system."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        return found[-1].parent if found else unavailable("Debian's package postgresql")

    def prepare(self) -> None:
        """Let it take no connection without TLS."""
        super().prepare()
        kept = _kept_by(self, self.certificate, self.data)
        with (self.data / "postgresql.conf").open("a") as config:
            config.write(f"ssl = on\nssl_cert_file = '{kept.certificate_file}'\nssl_key_file = '{kept.key_file}'\n")
        rules = self.data / "pg_hba.conf"
        rules.write_text("hostssl all all all scram-sha-256\n")


class TlsRabbit(RabbitServer):
    """A RabbitMQ node that listens with TLS too, at `tls_port`."""

    certificate: Certificate
    tls_port = 0

    @property
    def tls_url(self) -> str:
        """How a client reaches it with TLS."""
        return self.url.replace("amqp://", "amqps://").replace(f"{LOOPBACK}:{self.port}", f"{HOST}:{self.tls_port}")

    def _write_config(self) -> None:
        super()._write_config()
        self.tls_port = free_port()
        kept = _kept_by(self, self.certificate, self.data / "etc")
        with (self.data / "etc" / "rabbitmq.conf").open("a") as config:
            config.write(f"listeners.ssl.default = {LOOPBACK}:{self.tls_port}\n")
            config.write(f"ssl_options.certfile = {kept.certificate_file}\nssl_options.keyfile = {kept.key_file}\n")


@contextmanager
def in_tls(port: int, certificate: Certificate) -> Iterator[int]:
    """Give the port at which TLS ends before a server that has none, as stunnel would do it."""
    context = certificate.server_context()
    with socket.create_server((LOOPBACK, 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, context, port), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        socket.create_connection((LOOPBACK, port)) as server,
        context.wrap_socket(client, server_side=True) as opened,
    ):
        opened.settimeout(0.05)  # read and written by one thread: an SSL object is not for two
        server.settimeout(0.05)
        while _passed(opened, server) and _passed(server, opened):
            pass


def _passed(source: socket.socket, target: socket.socket) -> bool:
    try:
        found = source.recv(65_536)
    except (TimeoutError, ssl.SSLWantReadError):
        return True
    target.sendall(found)
    return bool(found)
