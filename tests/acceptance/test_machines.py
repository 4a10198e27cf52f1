"""Several machines with nothing in common but a network: jobs run across them, and one that is cut off costs none."""

import itertools
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from deploy.stack.child import Child, end_together
from deploy.stack.errors import NotInstalled
from deploy.stack.home import ROOT
from deploy.stack.postgres import CHOSEN, PostgresServer
from deploy.stack.rabbitmq import RabbitServer
from tests.services import plain
from tests.services.api_process import new_key
from tests.services.databases import connect_to
from tests.services.facts import Facts
from tests.services.fixtures import unavailable
from tests.services.machine_servers import POSTGRES_PORT, RABBIT_PORT, SERVING
from tests.services.machines import FILES, NAMED, Network, obstacle
from tests.services.stack import eventually

APIS: Final = ("api-1", "api-2")
WORKERS: Final = ("worker-1", "worker-2")
MACHINES: Final = ("data", *APIS, *WORKERS, "beat")
START_SECONDS: Final = 90.0
FINISH_SECONDS: Final = 60.0
API_PORT: Final = 8000

LOOK: Final = """
import os, pathlib, socket, sys
hidden, ours = (pathlib.Path(name) for name in sys.argv[1:])
assert socket.gethostname() == os.environ["EXPECTED_NAME"], socket.gethostname()
assert pathlib.Path.cwd() == pathlib.Path.home() and not list(hidden.iterdir())
pathlib.Path("own").write_text(socket.gethostname())
for folder in (hidden, ours, pathlib.Path("/tmp"), pathlib.Path("/var/lib"), pathlib.Path("/dev/shm")):
    try:
        (folder / f"shared-{os.getpid()}").write_text("seen by others")
    except OSError:
        continue
    assert folder in (hidden, pathlib.Path("/dev/shm")), f"{folder} can be written"
"""


@dataclass
class Site:
    """What runs on the machines, and what a client of them does."""

    network: Network
    database_url: str
    settings: dict[str, str]
    key: str = ""
    running: list[Child] = field(default_factory=list)
    _turns: "Iterator[str]" = field(default_factory=lambda: itertools.cycle(APIS))

    def start(self, machine: str, module: str, **own: object) -> None:
        """Start one of Penstock's processes on a machine."""
        child = self.network[machine].process(module, ["-m", module], **self.settings, **own)
        self.running.append(child)
        child.start()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return what the first API said that could be reached; the key makes another try safe."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": str(uuid.uuid4())}

        def ask() -> httpx.Response | None:
            where = f"http://{self.network[next(self._turns)].address}:{API_PORT}/api/v1{path}"
            try:
                answer = plain.post(where, json=body, headers=headers, timeout=5.0, trust_env=False)
            except httpx.TransportError:
                return None
            assert answer.status_code in {202, 503}, answer.text
            return answer if answer.status_code == httpx.codes.ACCEPTED else None

        return self.network.visit(lambda: eventually(ask, FINISH_SECONDS, "an API accepts")).json()

    def submit(self, count: int, seconds: float) -> set[uuid.UUID]:
        """Submit jobs that sleep, one by one, to both APIs in turn; returns who they are."""
        job = {"task": "demo.sleep", "payload": {"seconds": seconds}}
        return {uuid.UUID(self.post("/jobs", job)["id"]) for _ in range(count)}

    def answers(self, machine: str) -> bool:
        """Say whether the API of a machine can serve."""
        url = f"http://{self.network[machine].address}:{API_PORT}/ready"
        try:
            return self.network.visit(lambda: plain.get(url, timeout=2.0, trust_env=False)).is_success
        except httpx.TransportError:
            return False

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Return what the database says."""

        def ask() -> list[dict[str, Any]]:
            with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
                return connection.execute(query.encode(), values).fetchall()

        return self.network.visit(ask)

    def attempts(self, ids: set[uuid.UUID]) -> list[dict[str, Any]]:
        """Return the attempts at jobs, each with the machine that made it."""
        query = "SELECT *, split_part(worker, '@', 2) AS machine FROM attempts WHERE job_id = ANY(%s) ORDER BY number"
        return self.rows(query, list(ids))

    def succeeded(self, ids: set[uuid.UUID]) -> bool:
        """Say whether all of these jobs have."""
        (row,) = self.rows("SELECT count(*) FROM jobs WHERE id = ANY(%s) AND state = 'succeeded'", list(ids))
        return bool(row["count"] == len(ids))

    def taken_by(self, machine: str, ids: set[uuid.UUID]) -> set[uuid.UUID]:
        """Return which of these jobs a machine has begun and not ended."""
        made = self.attempts(ids)
        return {one["job_id"] for one in made if one["machine"] == machine and one["outcome"] is None}

    def workers_listed(self) -> bool:
        """Say whether each machine for workers has one."""
        return {row["host"] for row in self.rows("SELECT host FROM workers")} == set(WORKERS)


def able() -> None:
    """Return where machines can be made."""
    if why := obstacle():
        unavailable(why)
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        unavailable(f"namespaces, which need the capabilities SYS_ADMIN and NET_ADMIN: {tried.stderr.strip()}")


def prepare_programs(home: Path) -> None:
    """Have the servers' programs where their account reaches them: the machines cannot write there."""
    try:
        for server in (PostgresServer(home / "any"), RabbitServer(home / "any")):
            assert server.programs
    except NotInstalled as error:
        unavailable(str(error))


@contextmanager
def running_site(network: Network) -> Iterator[Site]:
    """Run everything for the block, each on its machine."""
    data = network["data"]
    chosen = {name: os.environ[name] for name in (CHOSEN,) if name in os.environ}
    servers = data.process("servers", ["-m", "tests.services.machine_servers"], **chosen)
    with ExitStack() as ending:
        ending.callback(lambda: servers.end(signal.SIGTERM, 20))
        servers.start()
        servers.wait_until(lambda: SERVING in servers.written(), START_SECONDS)
        secrets = [(data.folder / name / "state" / "password").read_text() for name in ("postgres", "rabbitmq")]
        database_url = f"postgresql://penstock:{secrets[0]}@data:{POSTGRES_PORT}/penstock"
        site = Site(
            network,
            database_url.replace("@data:", f"@{data.address}:"),
            {
                "DATABASE_URL": database_url,
                "BROKER_URL": f"amqp://penstock:{secrets[1]}@data:{RABBIT_PORT}//",
                "PENSTOCK_LEASE_SECONDS": "5",
                "PENSTOCK_DRAIN_SECONDS": "2",
                "PENSTOCK_START_WAIT_SECONDS": "30",
                "PENSTOCK_LOG_FORMAT": "json",
            },
        )
        ending.callback(lambda: end_together(site.running[::-1], 15))
        start(site)
        yield site


def start(site: Site) -> None:
    """Bring the schema, an API key and every process; return when all serve."""
    site.network["api-1"].run(["-m", "jobs.migrations"], START_SECONDS, **site.settings)
    engine = connect_to(site.database_url)
    site.key = site.network.visit(lambda: new_key(engine))
    site.network.visit(engine.dispose)
    for name in APIS:
        site.start(name, "api", PENSTOCK_API_HOST=name, PENSTOCK_API_PORT=API_PORT)
    for name in WORKERS:
        site.start(name, "worker")
    site.start("beat", "schedules")
    eventually(lambda: all(map(site.answers, APIS)), START_SECONDS, "both APIs serve")
    eventually(site.workers_listed, START_SECONDS, "both workers are there")


@pytest.fixture(scope="module")
def site(services_home: Path) -> Iterator[Site]:
    """The machines, with everything running; nothing is left of them."""
    able()
    prepare_programs(services_home)
    home = services_home / "several"
    home.mkdir(mode=0o711)
    with ExitStack() as ending:
        network = ending.enter_context(Network(home, MACHINES))
        yield ending.enter_context(running_site(network))
    assert not left_of(network)


def test_a_machine_sees_no_folder_of_another_and_writes_to_none_but_its_own(site: Site) -> None:
    for name, machine in site.network.machines.items():
        machine.run(["-c", LOOK, str(site.network.folders), str(site.network.logs)], 30, EXPECTED_NAME=name)

    assert [(machine.folder / "own").read_text() for machine in site.network.machines.values()] == list(MACHINES)
    assert not list(Path("/tmp").glob("shared-*"))


def test_a_machine_is_found_by_its_name_and_no_setting_holds_an_address(site: Site) -> None:
    names = "import socket, sys; print([socket.gethostbyname(name) for name in sys.argv[1:]])"
    site.network["beat"].run(["-c", names, *MACHINES], 30)

    assert not [value for value in site.settings.values() if re.search(r"\d+\.\d+\.\d+\.\d+|localhost", value)]


def test_nothing_is_added_to_the_network_of_who_makes_machines(site: Site) -> None:
    ours = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, check=True).stdout

    assert "10.213.7." not in ours
    assert "to-worker" not in subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("right", ["sys_admin", "net_admin"])
def test_root_without_a_right_that_machines_take_is_told_so_and_leaves_nothing(right: str) -> None:
    able()
    without = ["setpriv", f"--inh-caps=-{right}", f"--bounding-set=-{right}"]
    asks = "import os; from tests.services.machines import obstacle; print(os.getpid(), obstacle())"

    done = subprocess.run([*without, sys.executable, "-c", asks], capture_output=True, text=True, check=True, cwd=ROOT)

    pid, said = done.stdout.split(maxsplit=1)
    assert f"CAP_{right.upper()}" in said
    assert not [one for one in NAMED.glob("*") if f"-{pid}-" in one.name]


def test_a_network_that_cannot_be_made_or_is_left_in_a_hurry_leaves_nothing(tmp_path: Path) -> None:
    able()
    for home in (half := tmp_path / "half", whole := tmp_path / "whole"):
        home.mkdir()
    impossible, hurried = Network(half, ("fine", "of-a-name-that-no-device-can-have")), Network(whole, ("fine",))

    with pytest.raises(AssertionError, match="ip -n"), impossible:
        pass
    with pytest.raises(AssertionError, match="ZeroDivisionError"), hurried:
        hurried["fine"].run(["-c", "1 / 0"], 30)

    assert not left_of(impossible) + left_of(hurried)


def test_what_a_killed_run_has_left_the_next_removes(tmp_path: Path) -> None:
    able()
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = f"penstock-{dead.pid}-1-fine"
    subprocess.run(["ip", "netns", "add", left], check=True)

    with Network(tmp_path, ("fine",)):
        assert not (NAMED / left).exists()


def left_of(network: Network) -> list[Path]:
    """Return the namespaces of a network, and its files beside them."""
    return [path for folder in (NAMED, FILES) for path in folder.glob(f"{network.prefix}*")]


def test_the_jobs_of_a_machine_that_is_cut_off_end_elsewhere_once_and_it_works_on_when_it_is_back(site: Site) -> None:
    cut, other = WORKERS
    every = until_it_works(site, cut) | until_it_works(site, other)

    long = site.submit(6, 5.0)
    eventually(lambda: site.taken_by(cut, long), FINISH_SECONDS, "the machine runs jobs")
    site.network[cut].cut_off()
    caught = site.taken_by(cut, long)
    long |= site.submit(8, 0.2)
    eventually(lambda: site.succeeded(long), FINISH_SECONDS, "all jobs end while it is away")

    assert caught
    for job in caught:
        made = [(one["machine"], one["outcome"]) for one in site.attempts({job})]
        assert (made[0], made[-1]) == ((cut, "lost"), (other, "succeeded"))

    site.network[cut].come_back()
    every |= long | until_it_works(site, cut)
    every |= survives_a_lost_api(site)

    facts = site.network.visit(lambda: Facts(site.database_url))
    assert facts.ids == every
    assert facts.states == {"succeeded": len(every)}
    assert facts.most_accepted_attempts == 1
    assert facts.gaps_in_attempts == 0
    assert facts.gaps_in_events == 0


def until_it_works(site: Site, machine: str) -> set[uuid.UUID]:
    """Return the jobs that were submitted until the machine had run one of them."""
    submitted: set[uuid.UUID] = set()

    def ran() -> bool:
        new = site.submit(4, 0.2)
        submitted.update(new)
        eventually(lambda: site.succeeded(new), FINISH_SECONDS, "jobs are run")
        return any(one["machine"] == machine and one["outcome"] == "succeeded" for one in site.attempts(new))

    eventually(ran, FINISH_SECONDS, f"{machine} works")
    return submitted


def survives_a_lost_api(site: Site) -> set[uuid.UUID]:
    """Return jobs of which some were submitted while a machine with an API was away; it serves again."""
    gone = APIS[0]
    site.network[gone].cut_off()
    try:
        submitted = site.submit(2, 0.0)
        assert not site.answers(gone)
    finally:
        site.network[gone].come_back()
    eventually(lambda: site.answers(gone), FINISH_SECONDS, "the API is back")
    submitted |= site.submit(2, 0.0)
    eventually(lambda: site.succeeded(submitted), FINISH_SECONDS, "its jobs are run")
    return submitted
