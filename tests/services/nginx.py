"""The gateway as a process: Debian's nginx with deploy/compose/gateway/nginx.conf, and a name server of its own.

Only addresses are others than in a container: its ports, those of the services behind it, and where its files are.
"""

import os
import shutil
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.stack import debian
from deploy.stack.child import Child, harmless_environment
from deploy.stack.errors import NotInstalled
from deploy.stack.home import ROOT
from deploy.stack.ports import LOOPBACK, free_port
from tests.servers.certificates import make_certificate
from tests.services.fixtures import unavailable

CONFIG: Final = ROOT / "deploy" / "compose" / "gateway" / "nginx.conf"
START: Final = CONFIG.with_name("start")
PACKAGES: Final = debian.Packages("nginx", ["nginx"], "1 MB", "as root: apt-get install nginx", are_enough=True)
START_SECONDS: Final = 30.0

Address = tuple[str, int]


def program() -> str:
    """Return nginx; where it cannot be had the test skips at home, and fails with CI=true."""
    installed = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if installed:
        return installed
    try:
        return debian.find_or_unpack(PACKAGES, debian.cache("nginx"), _find)
    except NotInstalled as error:
        unavailable(str(error))


def _find(root: Path) -> str | None:
    found = root / "usr" / "sbin" / "nginx"
    return str(found) if found.exists() else None


class Names(socketserver.ThreadingUDPServer):
    """A name server that knows a few names (RFC 1035, section 4); for any other it says that there is none."""

    daemon_threads = True

    def __init__(self, known: Mapping[str, Sequence[str]]) -> None:
        """Know the IPv4 addresses of these names; they may be changed at any time."""
        self.known = dict(known)
        super().__init__((LOOPBACK, 0), Answer)

    @property
    def address(self) -> str:
        """Where it is asked."""
        return f"{LOOPBACK}:{self.server_address[1]}"


class Answer(socketserver.BaseRequestHandler):
    """One answer."""

    server: Names

    def handle(self) -> None:
        """Give the addresses of the name that is asked for."""
        query, socket = self.request
        end = query.index(b"\0", 12) + 5
        addresses = self.server.known.get(_name(query), ())
        flags = 0x8180 if addresses else 0x8183
        head = query[:2] + struct.pack(">HHHHH", flags, 1, len(addresses), 0, 0) + query[12:end]
        one = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4)
        socket.sendto(
            head + b"".join(one + bytes(map(int, address.split("."))) for address in addresses), self.client_address
        )


def _name(query: bytes) -> str:
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels)


class Gateway:
    """nginx with the shipped configuration; `ports` are those of the services behind it."""

    def __init__(
        self,
        folder: Path,
        names: Names,
        ports: Mapping[str, int],
        *,
        limit: str | None = None,
        https_port: str | None = None,
    ) -> None:
        """Describe it. `limit` stands for the rate of requests from one address, `https_port` for the engine's port."""
        self.folder = folder
        self.certificate = make_certificate(folder, "localhost")
        shutil.copy(self.certificate.certificate_file, folder / "gateway_certificate")
        shutil.copy(self.certificate.key_file, folder / "gateway_key")
        self.port, self.plain_port, self.health_port = free_port(), free_port(), free_port()
        self.log = folder / "gateway.log"
        others = {
            " /tmp/": f" {folder}/",
            "resolver 127.0.0.11 valid=2s": f"resolver {names.address} valid=1s",
            "listen 8443 ": f"listen {LOOPBACK}:{self.port} ",
            "listen 8080;": f"listen {LOOPBACK}:{self.plain_port};",
            "listen 127.0.0.1:8081;": f"listen {LOOPBACK}:{self.health_port};",
            "/run/secrets/": f"{folder}/",
            **{f"http://{name}:{CONTAINER_PORTS[name]};": f"http://{name}:{port};" for name, port in ports.items()},
            **({"rate=200r/s": limit, "burst=1000": "burst=5"} if limit else {}),
        }
        (folder / "nginx.conf").write_text(with_others(CONFIG.read_text(), others))
        # As root it would work as somebody who cannot reach the folder.
        account = "user root; " if os.geteuid() == 0 else ""
        placed = {
            "exec nginx ": f"exec '{program()}' -p '{folder}' ",
            "/etc/nginx/penstock/": f"{folder}/",
            "> /tmp/": f"> {folder}/",
            '"daemon off;"': f'"{account}daemon off;"',
        }
        (folder / "start").write_text(with_others(START.read_text(), placed))
        environment = harmless_environment() | ({"GATEWAY_HTTPS_PORT": https_port} if https_port else {})
        self.child = Child("gateway", ["/bin/sh", folder / "start"], environment=environment, log=self.log)

    @property
    def url(self) -> str:
        """Where people find it."""
        return f"https://localhost:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        """Return somebody who trusts the private authority and nobody else."""
        trust = ssl.create_default_context(cafile=str(self.certificate.certificate_file))
        return httpx.Client(base_url=self.url, verify=trust, trust_env=False, timeout=30, http2=False, **options)

    def is_well(self) -> bool:
        """Say whether its health check answers."""
        try:
            answer = httpx.get(f"http://{LOOPBACK}:{self.health_port}/health", trust_env=False, timeout=2)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.NO_CONTENT


CONTAINER_PORTS: Final = {"api": 8000, "flower": 5555, "grafana": 3000}


def with_others(text: str, others: Mapping[str, str]) -> str:
    """Return the text with other addresses; each that is to be replaced must be there."""
    for shipped, here in others.items():
        assert shipped in text, f"the gateway's configuration has no {shipped!r} any more"
        text = text.replace(shipped, here)
    return text


@contextmanager
def named(known: Mapping[str, Sequence[str]]) -> Iterator[Names]:
    """Run a name server for the block."""
    with Names(known) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving(gateway: Gateway) -> Iterator[Gateway]:
    """Run the gateway for the block."""
    gateway.child.start()
    try:
        gateway.child.wait_until(gateway.is_well, START_SECONDS)
        yield gateway
    finally:
        gateway.child.kill()
