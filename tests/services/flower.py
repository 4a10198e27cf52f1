"""Flower as a process of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from deploy.stack.ports import LOOPBACK, free_port
from tests.services.local_processes import LocalProcess, surroundings
from tests.services.stack import eventually

START_SECONDS: Final = 60.0


@dataclass
class Flower:
    """A Flower that answers."""

    port: int
    process: LocalProcess
    client: httpx.Client
    """Somebody who knows its password."""


@contextmanager
def watching(home: Path, broker_url: str, password: str, **own: object) -> Iterator[Flower]:
    """Run Flower for the block; it writes its log to `home`, and `own` is in its environment."""
    port = free_port()
    login = {"FLOWER_PORT": port, "PENSTOCK_FLOWER_PASSWORD": password}
    environment = surroundings(BROKER_URL=broker_url, **login, **own)
    process = LocalProcess("flower", ["deploy.flower"], environment=environment, log=home / "flower.log", prompt="")
    process.start()
    try:
        url = f"http://{LOOPBACK}:{port}/flower"
        with httpx.Client(
            base_url=url, auth=("penstock", password), timeout=30, verify=False, trust_env=False
        ) as client:
            eventually(lambda: _is_up(client), START_SECONDS, "Flower answers")
            yield Flower(port, process, client)
    finally:
        process.teardown()


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/healthcheck").is_success
    except httpx.TransportError:
        return False
