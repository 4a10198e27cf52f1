"""PostgreSQL with `deploy/backup` around it: an archive of WAL, base backups, and the way back."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import psycopg

from deploy.stack.child import harmless_environment
from deploy.stack.home import ROOT
from deploy.stack.postgres import USER, PostgresServer
from deploy.stack.server import write_private

SHIPPED: Final = ROOT / "deploy" / "backup"
COMMAND_SECONDS: Final = 120.0


class BackupFailed(Exception):
    """`penstock-backup` ended with something else than 0; the message is what it said."""


class ArchivingPostgres(PostgresServer):
    """A server whose settings are those of `deploy/backup/postgresql.conf`, archiving into `backup` beside its home."""

    start_seconds = 60.0
    archive_seconds: ClassVar[int] = 2

    @property
    def backup(self) -> Path:
        """What `BACKUP_DIR` names. It outlives the data directory."""
        return self.home.with_name(f"{self.home.name}-backup")

    @property
    def scripts(self) -> Path:
        """A copy of `deploy/backup` that the server's account can run."""
        return self.home.with_name(f"{self.home.name}-scripts")

    def prepare(self) -> None:
        """Make the cluster, and have it archive."""
        super().prepare()
        if not self.scripts.exists():
            shutil.copytree(SHIPPED, self.scripts)
            self.backup.mkdir(mode=0o700)
            self.own(self.backup)
            self.run("init")
        included = self.data / "penstock-backup.conf"
        if not included.exists():
            with (self.data / "postgresql.conf").open("a") as main:
                main.write(f"include '{included.name}'\n")
        self._write(included, self._settings())

    def _settings(self) -> str:
        """Return the shipped settings for this place, with an archive that is never far behind."""
        shipped = (SHIPPED / "postgresql.conf").read_text()
        placed = shipped.replace("/opt/penstock-backup", str(self.scripts)).replace("/backup ", f"{self.backup} ")
        return placed + f"archive_timeout = {self.archive_seconds}s\n"

    def _write(self, file: Path, text: str) -> None:
        write_private(file, text)
        self.own(file)

    def run(self, *words: str, **more: str) -> str:
        """Run `penstock-backup` as the server's account and return what it said. Raises `BackupFailed`.

        `more` goes into its environment.
        """
        account = self._account
        secrets = self.state / "pgpass"
        self._write(secrets, f"127.0.0.1:*:*:{USER}:{self.password}\n")
        done = subprocess.run(
            [str(self.scripts / "penstock-backup"), *words],
            env={**harmless_environment(), **self._surroundings(secrets), **more},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode != 0:
            raise BackupFailed(f"penstock-backup {words[0]} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def _surroundings(self, secrets: Path) -> dict[str, str]:
        return {
            "BACKUP_DIR": str(self.backup),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGDATABASE": USER,
            "PGPASSFILE": str(secrets),
            "PATH": f"{self.programs}:/usr/bin:/bin",
        }

    def is_ready(self) -> bool:
        """Say whether the server takes writes: one that recovers is ready for readers before."""
        if not super().is_ready():
            return False
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        except psycopg.OperationalError:
            return False

    def lose(self) -> None:
        """Die, and have no data directory any more."""
        self.kill()
        shutil.rmtree(self.data)

    def restore(self, *words: str, **more: str) -> str:
        """Fill the data directory that was lost from the archive, and return what was said; `start()` recovers."""
        self.make_data()
        return self.run("restore", str(self.data), *words, **more)

    def archived(self) -> Sequence[Path]:
        """Return the files of WAL in the archive, in their order."""
        return sorted(self.backup.glob("wal/????????????????????????.gz"))

    def destroy(self) -> None:
        """Remove everything, the archive too."""
        super().destroy()
        for folder in (self.backup, self.scripts):
            shutil.rmtree(folder, ignore_errors=True)
