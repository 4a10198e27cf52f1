"""A second PostgreSQL that copies a first one, and takes its place when that dies."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from deploy.stack.postgres import USER, PostgresServer
from deploy.stack.server import write_private
from tests.services.proxy import Proxy
from tests.services.stack import eventually

FOLLOW_SECONDS: Final = 30.0


class Standby(PostgresServer):
    """A server that follows `primary` until it is promoted; both have one password."""

    def __init__(self, home: Path, primary: PostgresServer, way: Proxy) -> None:
        """Copy nothing before `start`; the primary must run by then. It is reached by `way`."""
        super().__init__(home, durable=False)
        self._primary = primary
        self._way = way

    @property
    def password(self) -> str:
        """The copy has the passwords of its original."""
        return self._primary.password

    def prepare(self) -> None:
        """Make the copy when there is none (PostgreSQL, "pg_basebackup")."""
        made = self.state / "made"
        if made.exists():
            return
        self.make_data()
        words = self.state / "pgpass"
        write_private(words, f"*:*:*:{USER}:{self.password}\n")
        place = f"host=127.0.0.1 port={self._way.port} user={USER} passfile={self.own(words)}"
        backup = self.programs / "pg_basebackup"
        self._run([backup, "-D", self.data, "-d", place, "-R", "-c", "fast", "--no-sync"])
        made.touch()

    def is_ready(self) -> bool:
        """Say whether it answers; one that follows is called "standby" and not "ready"."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.database_url("postgres")):
            return True
        return False

    def pause(self) -> None:
        """Have it show nothing newer than now, until `go_on`."""
        _ask(self, "SELECT pg_wal_replay_pause()")
        state = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
        eventually(lambda: _ask(self, state), FOLLOW_SECONDS, "the standby stands still")

    def go_on(self) -> None:
        """Have it follow again."""
        _ask(self, "SELECT pg_wal_replay_resume()")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have all of its processes do nothing for the block: the kernel alone answers those who connect."""
        assert self.pid is not None
        main = psutil.Process(self.pid)
        processes = [main, *main.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def visitors(self) -> set[str]:
        """Return the names of the applications that are connected."""
        names = "SELECT string_agg(application_name, ',') FROM pg_stat_activity WHERE application_name LIKE 'penstock%'"
        return set(str(_ask(self, names) or "").split(",")) - {""}

    def promote(self) -> None:
        """Have it follow nobody any more, and take writes."""
        _ask(self, "SELECT pg_promote()")


def make_synchronous(primary: PostgresServer) -> None:
    """Have `primary` acknowledge no commit before its standby has it; return when that is so."""
    _ask(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    _ask(primary, "SELECT pg_reload_conf()")
    followers = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
    eventually(lambda: _ask(primary, followers), FOLLOW_SECONDS, "a standby follows in step")


def until_somebody_waits(primary: PostgresServer) -> None:
    """Return when a commit waits for the standby."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    eventually(lambda: _ask(primary, waiting), FOLLOW_SECONDS, "a commit waits for the standby")


def lose_machine_of(server: PostgresServer) -> None:
    """Kill every process of the server at once."""
    assert server.pid is not None
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    server.kill()
    psutil.wait_procs(processes[1:], timeout=10)


def either(first: PostgresServer, second: PostgresServer) -> str:
    """Return the url of whichever of the two takes writes."""
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (first, second))
    return f"postgresql://{USER}:{first.password}@/{USER}?{hosts}&target_session_attrs=read-write"


def _ask(server: PostgresServer, statement: str) -> Any:
    with psycopg.connect(server.database_url("postgres"), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None
