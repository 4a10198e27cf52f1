"""The gateway as it ships, as a real nginx in front of a real API and Flower, with TLS by a private authority."""

import json
import re
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from api.settings import ApiSettings
from deploy.stack.ports import LOOPBACK
from deploy.stack.postgres import PostgresServer
from deploy.stack.valkey import ValkeyServer
from tests.servers.web import WebServer, running_web_server
from tests.services.api_process import ApiProcess, new_key
from tests.services.databases import connect_to
from tests.services.fixtures import own_database
from tests.services.flower import watching
from tests.services.nginx import CONFIG, Gateway, Names, named, serving
from tests.services.stack import eventually

NOBODY: Final = "127.0.0.77"
"""An address of this machine at which no service listens: a container that is gone, and whose name is not yet."""
LOGIN: Final = ("penstock", "open sesame")


@dataclass
class Site:
    """What stands behind the gateway, and who may use it."""

    names: Names
    ports: dict[str, int]
    key: str
    grafana: WebServer

    def gateway(self, folder: Path, **changes: Any) -> Gateway:
        return Gateway(folder, self.names, self.ports, **changes)


@pytest.fixture(scope="module")
def site(
    postgres_server: PostgresServer,
    template_database: str,
    valkey_server: ValkeyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as end:
        database_url = end.enter_context(own_database(postgres_server, template_database))
        grafana = end.enter_context(running_web_server())
        api = ApiProcess(folder, database_url=database_url, broker_url=valkey_server.url, diagnostics="true")
        end.enter_context(api.start())
        engine = connect_to(database_url)
        key = new_key(engine)
        engine.dispose()
        port = end.enter_context(watching(folder, valkey_server.url, LOGIN[1])).port
        known = {"api": [NOBODY, LOOPBACK], "flower": [LOOPBACK], "grafana": [LOOPBACK]}
        names = end.enter_context(named(known))
        yield Site(names, {"api": api.port, "flower": port, "grafana": grafana.port}, key, grafana)


@pytest.fixture(scope="module")
def gateway(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(site.gateway(tmp_path_factory.mktemp("gateway"))) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway, site: Site) -> Iterator[httpx.Client]:
    with gateway.client(headers={"Authorization": f"Bearer {site.key}"}) as made:
        yield made


def test_jobs_go_through_to_an_api_that_is_there_and_past_one_that_is_gone(client: httpx.Client) -> None:
    answers = [client.post("/api/v1/jobs", json={"task": "demo.noop", "payload": {}}) for _ in range(20)]

    assert [answer.status_code for answer in answers] == [202] * 20
    assert client.get(answers[0].headers["location"]).json()["id"] == answers[0].json()["id"]
    assert answers[0].headers["strict-transport-security"] == "max-age=31536000"
    assert "server" not in answers[0].headers or answers[0].headers["server"] == "nginx"


def test_who_does_not_know_the_authority_does_not_talk_to_it(gateway: Gateway) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(gateway.url, trust_env=False)


def test_plain_http_is_sent_to_https_with_its_method(gateway: Gateway) -> None:
    answer = httpx.post(f"http://{LOOPBACK}:{gateway.plain_port}/api/v1/jobs?a=b", trust_env=False)

    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{LOOPBACK}/api/v1/jobs?a=b"


def test_plain_http_is_sent_to_the_port_that_the_engine_has_published(site: Site, tmp_path: Path) -> None:
    with serving(site.gateway(tmp_path, https_port="8443")) as gateway:
        answer = httpx.get(f"http://{LOOPBACK}:{gateway.plain_port}/docs", trust_env=False)

    assert answer.headers["location"] == f"https://{LOOPBACK}:8443/docs"


@pytest.mark.parametrize("name", ["flower", "grafana"])
def test_who_leaves_out_the_last_slash_is_led_to_it(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/{name}", headers={"Host": "penstock.example.com:8443"})

    assert (answer.status_code, answer.headers["location"]) == (308, f"https://penstock.example.com:8443/{name}/")


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/metrics/",
        "/ready",
        "/diagnostics/profile",
        "/flower/metrics",
        "/grafana/metrics",
        "//metrics",
        "/%6detrics",
        "/api/v1/%2e%2e/%2e%2e/metrics",
        "/x%2f..%2fready",
    ],
)
def test_what_only_those_inside_need_is_not_there(client: httpx.Client, path: str) -> None:
    assert client.get(path, auth=LOGIN if "flower" in path else None).status_code == 404


def test_that_it_lives_and_its_documentation_are_open(client: httpx.Client) -> None:
    assert [client.get(path).status_code for path in ("/health", "/openapi.json", "/docs")] == [200, 200, 200]


def test_flower_asks_for_its_password_and_serves_its_pages_under_its_prefix(client: httpx.Client) -> None:
    del client.headers["Authorization"]

    assert client.get("/flower/").status_code == 401
    page = client.get("/flower/", auth=LOGIN)
    assert page.status_code == 200
    assert "/flower/static/" in page.text
    assert client.get("/flower/static/css/flower.css").status_code == 200


def test_grafana_is_told_where_people_see_it(client: httpx.Client, site: Site, gateway: Gateway) -> None:
    client.get("/grafana/status?code=200", headers={"X-Forwarded-For": "6.6.6.6"})

    headers = {name.lower(): value for name, value in site.grafana.requests[-1].headers.items()}
    assert headers["host"] == f"localhost:{gateway.port}"
    assert (headers["x-forwarded-proto"], headers["x-forwarded-for"]) == ("https", LOOPBACK)


def test_a_batch_as_large_as_the_api_takes_passes_and_a_larger_body_does_not(client: httpx.Client) -> None:
    limit = ApiSettings().batch_limit_bytes

    fits = client.post("/api/v1/jobs/batch", content=b" " * limit, headers={"Content-Type": "application/json"})
    refused = client.post("/api/v1/jobs/batch", content=b" " * (limit + 1))

    assert fits.headers["x-request-id"], "the API has answered"
    assert (refused.status_code, refused.headers["content-type"]) == (413, "application/problem+json")
    assert refused.json()["status"] == 413


def test_events_come_as_they_happen(client: httpx.Client) -> None:
    job = client.post("/api/v1/jobs", json={"task": "demo.noop", "payload": {}, "delay_seconds": 3600}).json()

    with client.stream("GET", f"/api/v1/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"}) as stream:
        lines = stream.iter_lines()
        first = next(line for line in lines if line.startswith("event:"))
        client.post(f"/api/v1/jobs/{job['id']}/cancel").raise_for_status()
        rest = [line for line in lines if line.startswith("event:")]

    assert first == "event: accept"
    assert rest, "the cancel was told on the stream that was open"


def test_more_requests_than_an_address_may_make_are_told_to_wait(site: Site, tmp_path: Path) -> None:
    strict = site.gateway(tmp_path, limit="rate=1r/s")
    with serving(strict), strict.client() as client, ThreadPoolExecutor(4) as several:
        found = list(several.map(lambda _: client.get("/health"), range(30)))

    refused = [answer for answer in found if answer.status_code == 429]
    assert len(refused) >= 15
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert refused[0].json()["title"] == "Too Many Requests"


def test_a_service_that_is_away_is_told_as_a_problem_and_found_again_when_it_is_back(
    site: Site, client: httpx.Client
) -> None:
    known = site.names.known["grafana"]
    site.names.known["grafana"] = [NOBODY]
    try:
        eventually(lambda: client.get("/grafana/status?code=200").status_code == 503, 30, "its name is asked for again")
        assert client.get("/grafana/status?code=200").json()["title"] == "Service Unavailable"
    finally:
        site.names.known["grafana"] = known

    eventually(lambda: client.get("/grafana/status?code=200").status_code == 200, 30, "it is back")


def test_what_a_slow_client_does_not_take_is_kept_nowhere(gateway: Gateway, client: httpx.Client) -> None:
    with client.stream("GET", "/grafana/huge") as answer:
        for _ in zip(range(200), answer.iter_bytes(), strict=False):
            assert open_files(gateway, gateway.folder / "proxy") == []


def workers(gateway: Gateway) -> list[Path]:
    pid = gateway.child.pid
    return [Path("/proc", child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def open_files(gateway: Gateway, folder: Path) -> list[Path]:
    """Return what the gateway's processes hold open below a folder; nginx unlinks its temporary files at once."""
    opened = []
    for one in (one for worker in workers(gateway) for one in (worker / "fd").iterdir()):
        with suppress(FileNotFoundError):  # closed meanwhile
            opened.append(one.readlink())
    return [path for path in opened if path.is_relative_to(folder)]


def test_a_body_that_there_is_no_room_for_is_told_as_a_problem(site: Site, tmp_path: Path) -> None:
    with serving(site.gateway(tmp_path)) as gateway, gateway.client() as client:
        shutil.rmtree(tmp_path / "client-body")

        refused = client.post("/api/v1/jobs/batch", content=b" " * 2**20)

    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert refused.headers["retry-after"] == "2"
    assert "no room" in refused.json()["detail"]


def test_an_error_of_a_service_is_passed_on_as_it_is(client: httpx.Client) -> None:
    assert client.get("/grafana/status?code=500").status_code == 500


def test_it_has_few_processes_and_files_for_all_the_connections_that_each_may_hold(gateway: Gateway) -> None:
    limits = [(worker / "limits").read_text() for worker in workers(gateway)]
    files = [int(soft) for limit in limits for soft in re.findall(r"Max open files +(\d+)", limit)]
    (connections,) = re.findall(r"worker_connections (\d+);", CONFIG.read_text())

    assert len(files) == 2, "on a machine of any size"
    assert min(files) >= 2 * int(connections), "one from the client and one to the service"


def test_it_ends_what_waits_before_the_engine_ends_everything(site: Site, tmp_path: Path) -> None:
    gateway = site.gateway(tmp_path)
    with serving(gateway), gateway.client() as client, ThreadPoolExecutor(1) as aside:
        waiting = aside.submit(client.get, "/grafana/silence?ends", timeout=120)
        eventually(lambda: site.grafana.requests[-1].path.endswith("?ends"), 30, "somebody waits for an answer")
        gateway.child.send(signal.SIGQUIT)  # the image's STOPSIGNAL

        assert gateway.child.wait(60), "minutes before the service had to answer"
        assert gateway.child.exit_code == 0
        assert isinstance(waiting.exception(), httpx.TransportError)


def test_each_request_is_one_line_of_json_without_its_query(client: httpx.Client, gateway: Gateway) -> None:
    answer = client.get("/api/v1/jobs?tag=private-7c1")

    def told() -> dict[str, Any] | None:
        lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
        return next((line for line in lines if line["request_id"] == answer.headers["x-request-id"]), None)

    line = eventually(told, 10, "it is in the log")
    assert line is not None
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/jobs", 200)
    assert "private-7c1" not in gateway.log.read_text()


def test_the_limit_for_bodies_is_the_apis_own() -> None:
    assert f"client_max_body_size {ApiSettings().batch_limit_bytes // 2**20}m;" in CONFIG.read_text()
