"""`penstock-backup` on a real server: what it archives, how it restores, and what it refuses."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from api.stored import Stored
from deploy.stack.account import service_account, within_reach
from deploy.stack.errors import DidNotStart
from deploy.stack.postgres import find_programs
from jobs.database import transaction
from jobs.keys import create_key, list_keys
from jobs.migrations import current, head, upgrade
from tests.drill.archive import SHIPPED, ArchivingPostgres, BackupFailed
from tests.services.databases import connected, migrate
from tests.services.fixtures import administer
from tests.services.stack import eventually

SECONDS = 60.0


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder that the server's account reaches."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-backup-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(home: Path) -> Iterator[ArchivingPostgres]:
    """A server that archives, with nothing in it."""
    made = ArchivingPostgres(home / "postgres", durable=False)
    try:
        yield made.start()
    finally:
        made.destroy()


def execute(server: ArchivingPostgres, statement: Any, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.url, autocommit=True) as connection:
        found = connection.execute(statement, values)
        return found.fetchall() if found.description else []


def now(server: ArchivingPostgres) -> str:
    ((instant,),) = execute(server, "SELECT clock_timestamp()")
    return str(instant.isoformat())


def archive_all(server: ArchivingPostgres) -> None:
    """Return when everything that was committed so far is in the archive."""
    execute(server, "SELECT pg_logical_emit_message(true, 'drill', '')")
    ((name,),) = execute(server, "SELECT pg_walfile_name(pg_current_wal_lsn() - 1)")
    execute(server, "SELECT pg_switch_wal()")
    kept = server.backup / "wal" / f"{name}.gz"
    eventually(kept.exists, SECONDS, f"{name} is archived")


def filled(server: ArchivingPostgres) -> str:
    """Back up between the first row and the second; return a point in time between the second and the third."""
    execute(server, "CREATE TABLE notes (words text)")
    execute(server, "INSERT INTO notes VALUES ('before the backup')")
    back_up(server)
    execute(server, "INSERT INTO notes VALUES ('before the point')")
    point = now(server)
    archive_all(server)
    execute(server, "INSERT INTO notes VALUES ('beyond the point')")
    archive_all(server)
    execute(server, "INSERT INTO notes VALUES ('never archived')")
    return point


def back_up(server: ArchivingPostgres) -> None:
    """Take a base backup, and return in the second after the one that it is named by."""
    server.run("base")
    eventually(lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}" > bases(server)[-1], SECONDS, "another second has begun")


def bases(server: ArchivingPostgres) -> list[str]:
    return sorted(folder.name for folder in (server.backup / "base").iterdir() if not folder.name.startswith("."))


def notes(server: ArchivingPostgres) -> list[str]:
    return [words for (words,) in execute(server, "SELECT words FROM notes ORDER BY ctid")]


def test_a_database_that_is_lost_comes_back_as_it_was_at_a_point_in_time(server: ArchivingPostgres) -> None:
    point = filled(server)
    server.lose()

    server.restore(point)
    server.start()

    assert notes(server) == ["before the backup", "before the point"]
    assert execute(server, "SELECT pg_is_in_recovery()") == [(False,)]


def test_without_a_point_in_time_it_comes_back_to_the_end_of_the_archive_even_after_a_restore_to_one(
    server: ArchivingPostgres,
) -> None:
    point = filled(server)
    server.lose()
    server.restore(point)
    server.start()
    execute(server, "INSERT INTO notes VALUES ('after the restore')")
    server.run("base")
    execute(server, "INSERT INTO notes VALUES ('and archived')")
    archive_all(server)
    server.lose()

    server.restore()
    server.start()

    assert notes(server) == ["before the backup", "before the point", "after the restore", "and archived"]


def test_after_a_restore_to_a_point_what_came_after_it_is_still_within_reach(server: ArchivingPostgres) -> None:
    point = filled(server)
    server.lose()
    server.restore(point)
    server.start()
    archive_all(server)
    server.lose()

    server.restore(BACKUP_TIMELINE="1")
    server.start()

    assert notes(server)[:3] == ["before the backup", "before the point", "beyond the point"]


def test_verify_names_what_is_damaged_or_missing(server: ArchivingPostgres) -> None:
    filled(server)
    assert "is sound" in server.run("verify")
    needed = server.archived()
    hidden = needed[-2].rename(needed[-2].with_suffix(".hidden"))
    with pytest.raises(BackupFailed, match=f"gap: what follows {needed[-3].stem} is missing"):
        server.run("verify")
    hidden.rename(needed[-2])

    needed[-1].write_bytes(needed[-1].read_bytes()[:100])
    with pytest.raises(BackupFailed, match=f"{needed[-1].name} is damaged"):
        server.run("verify")

    (base,) = (server.backup / "base").iterdir()
    with (base / "global" / "pg_control").open("r+b") as control:
        control.write(b"\0")
    with pytest.raises(BackupFailed, match="is not what the server sent"):
        server.run("verify")


def test_a_server_does_not_start_on_less_than_was_asked_for(server: ArchivingPostgres) -> None:
    point = filled(server)
    server.lose()
    lost = next(one for one in reversed(server.archived()) if one != server.archived()[-1])
    lost.unlink()
    server.restore(point)

    with pytest.raises(DidNotStart, match="recovery ended before configured recovery target was reached"):
        server.start()


def test_a_damaged_file_of_the_archive_is_no_end_of_it(server: ArchivingPostgres) -> None:
    filled(server)
    server.lose()
    damaged = server.archived()[-1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    server.restore()

    with pytest.raises(DidNotStart, match=r"fetch-wal: .* is damaged"):
        server.start()


def test_what_is_in_the_way_of_a_restore_is_named_and_left_alone(server: ArchivingPostgres) -> None:
    with pytest.raises(BackupFailed, match="no base backup had ended by 2020"):
        server.run("restore", str(server.state / "elsewhere"), "2020-01-31T12:00:00Z")
    with pytest.raises(BackupFailed, match="'noonish' is no time"):
        server.run("restore", str(server.state / "elsewhere"), "noonish")
    for clock in ("2026-01-31 12:00:00", "2026-01-31"):  # the server's time zone may be any
        with pytest.raises(BackupFailed, match=f"'{clock}' is in no time zone"):
            server.run("restore", str(server.state / "elsewhere"), clock)
    with pytest.raises(BackupFailed, match="a path or a time must hold none of"):
        server.run("restore", str(server.state / "elsewhere"), BACKUP_DIR=f"{server.backup}/50%full")

    server.run("base")
    before = sorted(server.data.iterdir())
    with pytest.raises(BackupFailed, match="is not empty; nothing was written"):
        server.run("restore", str(server.data))

    assert sorted(server.data.iterdir()) == before


def test_an_archive_may_be_named_as_it_is_seen_from_here(server: ArchivingPostgres) -> None:
    point = filled(server)
    server.lose()

    server.restore(point, BACKUP_DIR=str(server.backup).lstrip("/"))  # every command is run in /
    server.start()

    assert notes(server) == ["before the backup", "before the point"]


def test_prune_keeps_the_last_backups_and_the_wal_that_they_need(server: ArchivingPostgres) -> None:
    for _ in range(3):
        back_up(server)
        archive_all(server)
    before, wal = bases(server), server.archived()

    said = server.run("prune", BACKUP_KEEP="2")

    assert bases(server) == before[1:]
    assert f"removed {before[0]}" in said
    assert 0 < len(server.archived()) < len(wal)
    assert "is sound" in server.run("verify", before[1])
    assert server.run("list").split()[0] == before[1]


def test_an_export_is_read_into_an_empty_database_with_everything_in_it(server: ArchivingPostgres) -> None:
    with connected(server.url, pool_size=1) as engine:
        upgrade(engine)
        with transaction(engine) as connection:
            create_key(connection, name="somebody")
            before = list_keys(connection)
    file = str(server.state / "penstock.dump")
    server.own(server.state)
    assert f"schema {head()}" in server.run("export", file)
    administer(server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier("another")))

    assert f"schema {head()}, 0 jobs" in server.run("import", file, PGDATABASE="another")

    with connected(server.database_url("another"), pool_size=1) as read:
        with transaction(read) as connection:
            assert list_keys(connection) == before
        assert current(read) == head()
    with pytest.raises(BackupFailed, match="the database another is not empty; nothing was written"):
        server.run("import", file, PGDATABASE="another")


def test_pg_verifybackup_is_used_where_it_runs(home: Path) -> None:
    server = ArchivingPostgres(home / "sixteen", durable=False)
    server.programs = of_release(server, "pginstall")
    try:
        server.start()
        server.run("base")
        (base,) = (server.backup / "base").iterdir()
        assert "is sound" in server.run("verify")

        (base / "stranger").touch()  # which only pg_verifybackup looks for
        with pytest.raises(BackupFailed, match='"stranger" is present on disk but not in the manifest'):
            server.run("verify")
    finally:
        server.destroy()


def of_release(server: ArchivingPostgres, installation: str) -> Path:
    """Return the programs of another release that the wheel has as well, where the server's account can run them."""
    wheel = find_programs().parent.parent
    trees = [wheel / installation, wheel.with_name(f"{wheel.name}.libs")]
    return within_reach(trees, service_account())[0] / "bin"


# What /metrics tells of it


def failing_for(server: ArchivingPostgres) -> float:
    with connected(server.url) as engine:
        told = {metric.name: metric for metric in Stored(engine, (), ()).collect()}
    (sample,) = told["penstock_archive_failing_seconds"].samples
    return float(sample.value)


def test_an_archive_that_fails_shows_in_the_metrics_until_it_takes_wal_again(server: ArchivingPostgres) -> None:
    migrate(server.url)
    archive_all(server)
    assert failing_for(server) == 0
    away = (server.backup / "wal").rename(server.backup / "not mounted")

    execute(server, "SELECT pg_logical_emit_message(true, 'drill', '')")
    execute(server, "SELECT pg_switch_wal()")

    eventually(lambda: 0 < failing_for(server) < SECONDS, SECONDS, "it is told")
    away.rename(server.backup / "wal")
    eventually(lambda: failing_for(server) == 0, 2 * SECONDS, "it has taken the file")


# The two commands that PostgreSQL calls


def archive(folder: Path, content: bytes, name: str = "000000010000000000000001") -> "subprocess.CompletedProcess[str]":
    """Hand in a file of WAL with this content."""
    source = folder / "source"
    source.write_bytes(content)
    return call("archive-wal", folder, str(source), name)


def call(program: str, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    surroundings = {**os.environ, "BACKUP_DIR": str(folder)}
    return subprocess.run(
        [SHIPPED / program, *words], env=surroundings, capture_output=True, text=True, check=False, timeout=SECONDS
    )


def test_a_file_of_wal_is_archived_once_and_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "wal").mkdir()

    assert archive(tmp_path, b"one").returncode == 0
    assert archive(tmp_path, b"one").returncode == 0, "PostgreSQL may hand it in again"
    refused = archive(tmp_path, b"two")

    assert (refused.returncode, "holds something else" in refused.stderr) == (1, True)
    assert call("fetch-wal", tmp_path, "000000010000000000000001", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == b"one"
    assert [file.name for file in (tmp_path / "wal").iterdir()] == ["000000010000000000000001.gz"]


def test_a_volume_that_is_not_mounted_is_an_error_of_both(tmp_path: Path) -> None:
    assert "is its volume mounted?" in archive(tmp_path, b"one").stderr
    assert not (tmp_path / "wal").exists()
    assert call("fetch-wal", tmp_path, "000000010000000000000001", str(tmp_path / "back")).returncode == 200


def test_what_the_archive_does_not_have_is_told_apart_from_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / "000000010000000000000002.gz").write_bytes(b"no gzip")

    assert call("fetch-wal", tmp_path, "000000010000000000000001", str(tmp_path / "back")).returncode == 1
    assert call("fetch-wal", tmp_path, "000000010000000000000002", str(tmp_path / "back")).returncode == 200
