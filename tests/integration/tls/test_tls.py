"""Every dependency behind TLS with a private authority: a job goes through, and another authority is refused."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.stack.valkey import ValkeyServer
from jobs.startup import MISCONFIGURED
from tests.integration.settings.test_refused import ends
from tests.integration.tls.servers import HOST, TlsPostgres, TlsRabbit, in_tls
from tests.servers.certificates import Certificate, make_certificate, openssl_is_installed
from tests.services.databases import migrate
from tests.services.fixtures import running, unavailable
from tests.services.processes import all_processes


def made_in(folder: Path) -> Certificate:
    folder.mkdir()
    return make_certificate(folder, HOST)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The authority that made the servers' certificate: itself."""
    if not openssl_is_installed():
        unavailable("openssl")
    return made_in(tmp_path_factory.mktemp("authority") / "ours")


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory, ours: Certificate) -> Certificate:
    """An authority of the same name that has made none of them."""
    return made_in(tmp_path_factory.mktemp("authority") / "another")


@pytest.fixture(scope="module")
def database_url(services_home: Path, ours: Certificate) -> Iterator[str]:
    """The URL of a PostgreSQL that lets nobody in without TLS, without how it is verified."""
    server = TlsPostgres(services_home / "postgres-tls", durable=False)
    server.certificate = ours
    with running(server):
        url = server.url.replace("127.0.0.1", HOST)
        migrate(verified(url, ours))
        yield url


def verified(url: str, authority: Certificate) -> str:
    return f"{url}?sslmode=verify-full&sslrootcert={authority.certificate_file}"


@contextmanager
def tls_broker(kind: str, home: Path, ours: Certificate, valkey: ValkeyServer) -> Iterator[str]:
    """Give the URL of a broker behind TLS."""
    if kind == "valkey":
        with in_tls(valkey.port, ours) as port:
            yield valkey.url.replace("redis://", "rediss://").replace(f"127.0.0.1:{valkey.port}", f"{HOST}:{port}")
        return
    server = TlsRabbit(home / "rabbitmq-tls", durable=False)
    server.certificate = ours
    with running(server):
        yield server.tls_url


@pytest.mark.parametrize("kind", ["valkey", "rabbitmq"])
def test_a_job_goes_through_with_tls_everywhere_and_another_authority_is_refused(
    kind: str,
    database_url: str,
    ours: Certificate,
    another: Certificate,
    valkey_server: ValkeyServer,
    services_home: Path,
    tmp_path: Path,
) -> None:
    trusted = {"PENSTOCK_BROKER_CA_FILE": ours.certificate_file}
    with tls_broker(kind, services_home, ours, valkey_server) as broker_url:
        with all_processes(tmp_path, verified(database_url, ours), broker_url, **trusted) as site:
            submitted = site.client.post("/jobs", json={"task": "demo.echo", "payload": {"message": "private"}})
            job = site.client.get(f"/jobs/{submitted.json()['id']}", params={"wait_seconds": 30}).json()
            ready = site.client.get(f"{site.api.url}/ready").json()

        assert (job["state"], job["result"]) == ("succeeded", "private")
        assert ready["dependencies"]["broker"]["ok"]

        told = {"DATABASE_URL": verified(database_url, ours), "BROKER_URL": broker_url}
        wrong = {**told, "PENSTOCK_BROKER_CA_FILE": str(another.certificate_file)}
        for module, ended in ends(("api", "worker", "schedules", "deploy.flower"), wrong):
            refused(module, ended.code, ended.error, "BROKER_URL: .* shows a certificate that does not hold")
        for module, ended in ends(("worker",), told):
            refused(module, ended.code, ended.error, "BROKER_URL: .* shows a certificate that does not hold")


def refused(module: str, code: int, error: str, says: str) -> None:
    assert code == MISCONFIGURED, f"{module}: {error}"
    assert len(error.splitlines()) == 1, f"{module}: {error}"
    assert re.search(says, error), f"{module}: {error}"


def test_a_postgresql_of_another_authority_is_refused(
    database_url: str, another: Certificate, valkey_server: ValkeyServer
) -> None:
    wrong = {"DATABASE_URL": verified(database_url, another), "BROKER_URL": valkey_server.url}

    for module, ended in ends(("api", "worker", "schedules", "jobs.migrations"), wrong):
        refused(
            module,
            ended.code,
            ended.error,
            "DATABASE_URL: .*certificate verify failed; correct sslmode",
        )
