"""The supervisor: brings the local stack up, all at once where it can, keeps it up, and takes it down in order."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

from deploy.flower.settings import FlowerSettings
from deploy.stack import logs
from deploy.stack.announce import complain, say, welcome
from deploy.stack.child import Child, end_together
from deploy.stack.errors import DidNotStart, StackError
from deploy.stack.home import ROOT, Home
from deploy.stack.leftovers import end_leftovers, noted
from deploy.stack.options import Options
from deploy.stack.postgres import PostgresServer
from deploy.stack.prepared import PreparedNote
from deploy.stack.rabbitmq import RabbitServer
from deploy.stack.readiness import ours, ready
from deploy.stack.roles import penstock_roles, surroundings
from deploy.stack.server import Server
from deploy.stack.valkey import ValkeyServer
from deploy.stack.watched import Watched, WatchedRole, WatchedServer

WATCH_SECONDS = 0.1
PAUSE_SECONDS = 0.02
READY_SECONDS = 60.0
PREPARE_SECONDS = 120.0
LEFTOVER_SECONDS = 3.0
LOGS_SECONDS = 10.0

# From Ctrl-C to the last process gone takes less than five seconds: these, and a server's own bound, add up to less.
API_STOP_SECONDS = 0.7
CREW_STOP_SECONDS = 2.4


class Stopping(Exception):
    """Someone asked the stack to stop while it was starting."""


class Supervisor:
    """One run of the local stack."""

    def __init__(self, home: Home, options: Options, *, tells: bool = True) -> None:
        """Nothing is started yet; unless it `tells`, what opens the stack is in its file alone, and not printed."""
        self._home = home
        self._tells = tells
        self._options = options
        self._asked_to_stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="servers")
        self._servers: list[Server] = []
        self._roles: list[WatchedRole] = []
        self._preparing: Child | None = None
        self._prepared: PreparedNote | None = None
        self._urls = {"database_url": options.database_url or "", "broker_url": options.broker_url or ""}
        self._phases: dict[str, float] = {}

    def run(self) -> int:
        """Run the stack until someone stops it; returns the exit code. Raises `AlreadyRunning`."""
        with self._home.held(), self._listening():
            try:
                self._bring_up()
                self._watch()
            except Stopping:
                pass
            except StackError as error:
                if self._prepared:
                    self._prepared.tear_up()
                complain(f"The stack did not start: {error}")
                return 1
            finally:
                self._take_down()
        return 0

    # Up

    def _bring_up(self) -> None:
        if left := end_leftovers(self._home.read_processes(), LEFTOVER_SECONDS):
            complain(f"ended {len(left)} processes that an earlier run had left behind")
        with self._phase("servers"):
            self._start_servers()
        with self._phase("schema"):
            self._prepare()
        with self._phase("processes"):
            self._start_roles()
        facts = self._write_stack()
        say(welcome(facts) if self._tells else f"Penstock runs; {self._home.stack_file} says where.")

    def _start_servers(self) -> None:
        postgres = None if self._options.database_url else PostgresServer(self._home.folder / "postgresql")
        broker = None if self._options.broker_url else self._broker()
        self._servers = [server for server in (postgres, broker) if server]
        for server in self._servers:
            server.log = self._home.log(server.name)
        starting: list[Future[Server]] = [self._pool.submit(server.start) for server in self._servers]
        self._until(lambda: all(future.done() for future in starting))
        for future in starting:
            future.result()
        if postgres:
            self._urls["database_url"] = postgres.url
            self._prepared = PreparedNote(postgres.state / "prepared", self._home.key_file)
        if broker:
            self._urls["broker_url"] = broker.url
        self._note_processes()

    def _broker(self) -> Server:
        kind = {"valkey": ValkeyServer, "rabbitmq": RabbitServer}[self._options.broker]
        return kind(self._home.folder / self._options.broker)

    def _prepare(self) -> None:
        if self._prepared and self._prepared.is_true():
            return
        environment = surroundings(**self._urls) | {"PENSTOCK_KEY_FILE": str(self._home.key_file)}
        child = Child(
            "prepare",
            [sys.executable, "-m", "deploy.stack.prepare"],
            environment=environment,
            log=self._home.log("prepare"),
            directory=ROOT,
        )
        self._preparing = child
        child.start()
        self._until(lambda: child.exit_code is not None, PREPARE_SECONDS, "preparing the database")
        if child.exit_code != 0:
            raise DidNotStart(f"preparing the database ended with {child.exit_code}\n{child.tail()}")
        if self._prepared:
            self._prepared.write()

    def _start_roles(self) -> None:
        self._home.secret("flower")
        rabbit = next((server for server in self._servers if isinstance(server, RabbitServer)), None)
        roles = penstock_roles(
            workers=self._options.workers,
            flower_password=self._home.secret_file("flower"),
            broker_api=rabbit.management_url if rabbit else None,
        )
        shared = surroundings(**self._urls)
        self._roles = [WatchedRole(role, self._home, shared) for role in roles]
        *needed, flower = self._roles
        for watched in needed:
            watched.start()
        self._note_processes()
        self._until(lambda: self._serve(needed), READY_SECONDS, "the API's /ready, with every worker counted,")
        flower.start()  # it asks the workers for their names once, at its start; and nobody waits for it
        self._note_processes()

    def _serve(self, needed: Sequence[WatchedRole]) -> bool:
        """Say whether work can be taken and done; a role that died ends the start, unless it died over its port."""
        for watched in needed:
            if watched.child.exit_code is not None and not watched.lost_its_port():
                tail = watched.child.tail()
                raise DidNotStart(f"{watched.name} ended with {watched.child.exit_code} while starting\n{tail}")
            watched.revive()
        return ready(self._api_url, workers=self._options.workers) and ours(self._api_url, self._home.api_key)

    @property
    def _api_url(self) -> str:
        return self._roles[0].url("PENSTOCK_API_PORT")

    # Staying up

    def _watch(self) -> None:
        parts: list[Watched] = [*(WatchedServer(server, self._pool) for server in self._servers), *self._roles]
        next_bound = 0.0
        while not self._asked_to_stop.wait(WATCH_SECONDS):
            changed = [part for part in parts if part.revive()]
            if changed:
                self._note_processes()
                self._write_stack()
            if time.monotonic() > next_bound:
                logs.bound(self._home.logs)
                next_bound = time.monotonic() + LOGS_SECONDS

    def _write_stack(self) -> dict[str, Any]:
        flower = self._roles[-1]
        metrics = {"api": f"{self._api_url}/metrics"}
        for watched in self._roles:
            for variable in watched.role.ports:
                if variable.endswith("_METRICS_PORT"):
                    metrics[watched.name] = f"{watched.url(variable)}/metrics"
        facts = {
            "api_url": self._api_url,
            "api_key": self._home.api_key,
            "flower_url": f"{flower.url('FLOWER_PORT')}{FlowerSettings().path}",
            "flower_user": FlowerSettings().flower_user,
            "flower_password": self._home.secret("flower"),
            **self._urls,
            "metrics_urls": metrics,
            "pids": {"supervisor": [os.getpid()], **self._pids()},
            "logs": str(self._home.logs),
            "stack_file": str(self._home.stack_file),
            "phases_seconds": {name: round(seconds, 3) for name, seconds in self._phases.items()},
        }
        self._home.write_stack(facts)
        return facts

    def _pids(self) -> dict[str, list[int]]:
        pids: dict[str, list[int]] = {server.name: server.pids for server in self._servers}
        for watched in self._roles:
            kind = "worker" if watched.name.startswith("worker-") else watched.name
            pids.setdefault(kind, []).extend(watched.pids)
        return pids

    def _note_processes(self) -> None:
        self._home.write_processes(noted(pid for pids in self._pids().values() for pid in pids))

    # Down

    def _take_down(self) -> None:
        """End what takes work in, then what makes work, then what does it, then what keeps it."""
        began = time.monotonic()
        children = {watched.name: watched.child for watched in self._roles}
        api = [child for name, child in children.items() if name == "api"]
        crew = [child for name, child in children.items() if name != "api"]
        crew.sort(key=lambda child: child.name.startswith("worker-"))  # beat and Flower hear it before the workers
        willing = end_together([*api, *([self._preparing] if self._preparing else [])], API_STOP_SECONDS)
        willing &= end_together(crew, CREW_STOP_SECONDS)
        for server in self._servers:
            server.abandon()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for server in reversed(self._servers):
            server.stop()
        self._home.stack_file.unlink(missing_ok=True)
        how = "" if willing else ", some of it by force"
        if self._roles:
            say(f"Penstock has stopped in {time.monotonic() - began:.1f} s{how}; its state is in {self._home.folder}.")

    # Waiting

    def _until(self, condition: Callable[[], bool], seconds: float = float("inf"), what: str = "the start") -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._asked_to_stop.wait(PAUSE_SECONDS):
                raise Stopping
            if time.monotonic() > deadline:
                raise DidNotStart(f"{what} took longer than {seconds:g} s; see {self._home.logs}")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._phases[name] = time.monotonic() - began

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Turn Ctrl-C, SIGTERM and a closed terminal into a request to stop; the second request kills."""

        def hear(_number: int, _frame: FrameType | None) -> None:
            if self._asked_to_stop.is_set():
                for watched in self._roles:
                    watched.child.send(signal.SIGKILL)
            self._asked_to_stop.set()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
