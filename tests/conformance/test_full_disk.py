"""PostgreSQL has no room on its disk: what comes is refused for a while, what is accepted is kept, and all goes on."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from deploy.stack.postgres import PostgresServer
from tests.services import plain
from tests.services.databases import migrate
from tests.services.fixtures import running, unavailable
from tests.services.insistent import Insistent, settled
from tests.services.processes import all_processes
from tests.services.stack import eventually

DISK: Final = "240m"
PIECE: Final = bytes(64 * 1024)
REFUSED_SECONDS: Final = 60
HEAVY: Final = {"task": "demo.echo", "payload": {"message": os.urandom(24_000).hex()}}
"""A job that soon needs a page that the disk does not have."""


@pytest.fixture
def disk(services_home: Path) -> Iterator[Path]:
    """A small disk; it takes root, and in a container the right to mount."""
    place = services_home / "disk"
    place.mkdir(exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0711", "none", place]
    made = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if made.returncode:
        unavailable(f"a disk of a test's own, the right to mount one (CAP_SYS_ADMIN): {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no room on the disk for the block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(PIECE)
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()


def test_jobs_are_refused_while_postgresqls_disk_is_full_and_none_that_was_accepted_is_lost(
    disk: Path, tmp_path: Path, broker_url: str
) -> None:
    with running(PostgresServer(disk / "postgres", durable=False, log=tmp_path / "postgres.log")) as server:
        migrate(server.url)
        with all_processes(tmp_path, server.url, broker_url) as site:
            pids = [site.worker.pid, site.beat.pid, site.api.pid]
            client = Insistent(site.client, HEAVY)
            with client.submitting():
                client.goes_on(20)
                with full(disk):
                    eventually(lambda: 503 in client.statuses, REFUSED_SECONDS, "a job is refused")
                    seen = site.client.get(f"/jobs/{client.ids[0]}")
                    health = plain.get(f"{site.api.url}/health", trust_env=False)
                client.goes_on(20)
            settled(site.engine, client.ids)

            assert client.statuses == {202, 503}
            assert (seen.status_code, health.status_code) == (200, 200)
            assert [site.worker.pid, site.beat.pid, site.api.pid] == pids
